"""Which responses and tokens train, decided after the advantages and never re-normalising them."""

BUILTIN: dict[str, str] = {
    "all": "rlvr.advantage.select.all:All",
}
