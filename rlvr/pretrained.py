"""What training starts from: a model and its tokenizer, from a folder, the hub or this package."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rlvr.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEMO_MODEL = Path(__file__).parent / "demo_model"


@dataclass(frozen=True)
class Model:
    """Which model, and how it is held."""

    name: str = "demo"  # a folder, a name on the hub, or the embedded demo model
    dtype: str = "auto"  # of the computation: auto, float32 or bfloat16; auto: bfloat16 on a GPU
    device: str = "auto"
    lora_rank: int = 0  # 0 trains every weight
    lora_alpha: float = 32.0
    lora_targets: tuple[str, ...] = ("all-linear",)
    gradient_checkpointing: bool = False
    trust_remote_code: bool = False  # run Python that comes with the model

    def __post_init__(self) -> None:
        if self.dtype not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"dtype is auto, float32 or bfloat16, not '{self.dtype}'")
        if self.lora_rank < 0:
            raise ValueError("lora_rank must not be negative")

    @property
    def path(self) -> str:
        return str(DEMO_MODEL) if self.name == "demo" else self.name


def load_tokenizer(settings: Model) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # bars for shards of one file are noise among ours
    _check_folder(settings)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            settings.path, trust_remote_code=settings.trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        found = "its tokenizer" if Path(settings.path).exists() else "no such folder, and the hub"
        raise UserError(f"--model {settings.name}: {found}: {_first_line(error)}") from None
    if tokenizer.eos_token_id is None:
        raise UserError(f"--model {settings.name}: its tokenizer has no end-of-sequence token")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _check_folder(settings: Model) -> None:
    """UserError where a path was meant and no model is there: the hub would be asked about it else."""
    name = settings.path
    if Path(name).exists():
        if not (Path(name) / "config.json").is_file():
            raise UserError(f"--model {name}: no model folder, it has no config.json")
    elif name.startswith((".", "~", "/")) or name.count("/") > 1:
        raise UserError(f"--model {name}: no such folder")


def load_model(settings: Model, dtype: torch.dtype) -> Any:
    """The transformers model on the CPU. `dtype`: what it will compute in, and of the weights that stay as they are."""
    from transformers import AutoModelForCausalLM

    # a full fine-tune keeps fp32 master weights: bf16 ones would swallow steps of 1e-6
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            settings.path,
            dtype=dtype if settings.lora_rank else torch.float32,
            trust_remote_code=settings.trust_remote_code,
            attn_implementation="sdpa",
        )
    except (OSError, ValueError, KeyError) as error:
        reason = _first_line(error).partition(". ")[0]
        raise UserError(f"--model {settings.name}: {reason}") from None
    if settings.gradient_checkpointing:
        checkpoint_layers(model)
    return model


def with_lora(model: Any, settings: Model) -> Any:
    """`model` wrapped by peft; its layers are changed in place."""
    from peft import LoraConfig, get_peft_model

    targets = settings.lora_targets
    try:
        with warnings.catch_warnings():  # peft asks by a name that transformers will drop
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            return get_peft_model(
                model,
                LoraConfig(
                    r=settings.lora_rank,
                    lora_alpha=settings.lora_alpha,  # type: ignore[arg-type]  # floats too
                    target_modules=targets[0] if len(targets) == 1 else list(targets),
                    task_type="CAUSAL_LM",
                ),
            )
    except ValueError as error:
        raise UserError(f"--model.lora_targets: {_first_line(error)}") from None


def checkpoint_layers(model: Any) -> None:
    """Have a transformers model compute its layers again in the backward pass, not keep them."""
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)()  # its name until transformers 5.22


def device_of(settings: Model) -> torch.device:
    if settings.device != "auto":
        try:
            device = torch.device(settings.device)
        except RuntimeError:
            raise UserError(f"--model.device: no device '{settings.device}'") from None
        if device.type == "cuda" and not torch.cuda.is_available():
            raise UserError(
                "--model.device cuda: this machine has no CUDA device (see rlvr doctor)"
            )
        return device
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def no_dropout(model: nn.Module) -> None:
    """The sampler's log-probabilities are those of the model without it: with it every ratio would be noise."""
    module: Any
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return " ".join(lines[0].split()) if lines else type(error).__name__
