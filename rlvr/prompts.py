"""From a problem to the token ids the policy is conditioned on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rlvr.errors import UserError
from rlvr.types import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Encode = Callable[[Problem], tuple[int, ...]]


def encode(tokenizer: PreTrainedTokenizerBase, problem: Problem) -> tuple[int, ...]:
    """A plain prompt as it is; a chat by the model's template, or joined by blank lines without one."""
    if isinstance(problem.prompt, str):
        ids = _plain(tokenizer, problem.prompt)
    elif tokenizer.chat_template:
        text = tokenizer.apply_chat_template(
            problem.prompt, add_generation_prompt=True, tokenize=False
        )
        ids = tokenizer.encode(str(text), add_special_tokens=False)
    else:
        ids = _plain(tokenizer, "\n\n".join(m["content"] for m in problem.prompt) + "\n")
    if not ids:
        raise UserError(f"problem {problem.id}: its prompt encodes to no token at all")
    return tuple(ids)


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of a text, without an end-of-sequence token that some tokenizers put behind every text."""
    ids = list(tokenizer.encode(text))
    while ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    return ids
