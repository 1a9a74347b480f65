"""Reward functions as people write them for TRL and verl."""

import asyncio


def trl_strings(completions, answer, **kwargs):
    return [
        1.0 if completion == gold else 0.0
        for completion, gold in zip(completions, answer, strict=True)
    ]


def trl_messages(completions, **kwargs):
    contents = [completion[0]["content"] for completion in completions]
    return [
        1.0 if text == gold else 0.0
        for text, gold in zip(contents, kwargs["solution"], strict=True)
    ]


def trl_prompts(prompts, completions):
    return [float(len(prompt)) for prompt, _ in zip(prompts, completions, strict=True)]


def trl_kind(prompts, completions, **kwargs):
    return [0.0 if isinstance(completions[0], str) else 1.0]


def trl_none(completions, **kwargs):
    return [None]


def trl_two(completions, **kwargs):
    return [1.0, 1.0]


def trl_column(completions, level, **kwargs):
    return [float(value) for value in level]


async def trl_async(completions, **kwargs):
    await asyncio.sleep(0)
    return [0.5]


def trl_raises(completions, **kwargs):
    return [1.0 / 0]


def verl_number(data_source, solution_str, ground_truth, extra_info=None):
    return 1.0 if solution_str == ground_truth else 0.0


def verl_dict(data_source, solution_str, ground_truth, extra_info=None):
    right = solution_str == ground_truth
    return {"score": 1.0 if right else -1.0, "acc": right, "pred": solution_str, "n": 2}


def verl_partial(data_source, solution_str, ground_truth, extra_info=None):
    return {"score": 0.3, "acc": False}


def verl_source(data_source, solution_str, ground_truth, extra_info):
    return {
        "score": 1.0 if data_source == "gsm8k" else 0.0,
        "extra": extra_info["split"] == "train",
    }


def verl_list(data_source, solution_str, ground_truth, extra_info=None):
    return [0.25, "why"]


def verl_keywords(**kwargs):
    return float(sorted(kwargs) == ["data_source", "extra_info", "ground_truth", "solution_str"])
