"""From a problem to the token ids the policy is conditioned on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlvr.errors import UserError
from rlvr.types import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode(tokenizer: PreTrainedTokenizerBase, problem: Problem) -> tuple[int, ...]:
    """A plain prompt as it is; a chat by the model's template, or joined by blank lines without one."""
    if isinstance(problem.prompt, str):
        ids = tokenizer(problem.prompt).input_ids
    elif tokenizer.chat_template:
        ids = tokenizer.apply_chat_template(
            problem.prompt, add_generation_prompt=True, tokenize=True, return_dict=False
        )
    else:
        ids = tokenizer("\n\n".join(m["content"] for m in problem.prompt) + "\n").input_ids
    # a tokenizer that ends every text with its end-of-sequence token would end the prompt too
    while ids and ids[-1] == tokenizer.eos_token_id and isinstance(problem.prompt, str):
        ids = ids[:-1]
    if not ids:
        raise UserError(f"problem {problem.id}: its prompt encodes to no token at all")
    return tuple(ids)
