"""Which responses and tokens train, decided after the advantages and never re-normalising them."""

BUILTIN: dict[str, str] = {
    "all": "rlvr.advantage.select.all:All",
    "d3s": "rlvr.advantage.select.d3s:D3S",
}
