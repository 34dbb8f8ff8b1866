"""Settings of the gradient learner."""

from __future__ import annotations

import re
from typing import Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from everlearn.settings.gradient import OptimizationSettings
from everlearn.settings.learner_config import LearnerConfig
from everlearn.settings.model import Dtype

__all__ = ["GradientConfig", "TrainablePart"]

TrainablePart = Literal["all", "head", "embeddings", "encoder", "decoder", "layers", "lora"]
_WHOLE_PARTS = ("all", "head", "embeddings", "encoder", "decoder", "lora")

# (model, head). Those of AdamW were chosen on CLINC150's training and validation parts, 10 experiences by
# class, batches of 32 with 32 replayed (91.9 % on the validation part); higher rates forget more. The
# others were only seen to learn the first experience.
_LEARNING_RATES: dict[str, tuple[float, float]] = {
    "sgd": (5e-2, 5e-1),
    "momentum": (5e-3, 5e-2),
    "adagrad": (1e-3, 1e-2),
    "adamw": (4e-5, 2e-3),
}
_LORA_FACTOR = 5.0


class GradientConfig(OptimizationSettings, LearnerConfig):
    """How a gradient learner makes its steps."""

    trainable: str = "all"
    """"all", "head", "embeddings", "encoder" or "decoder" (of an encoder-decoder), "layers:K-N" (layers K to
    N, both included, from 0), "lora", or "lora:K-N" (adapters in these layers only, so that low layers stay
    as they are). A classifier's head is always trained, as it starts at zero."""
    betas: tuple[float, float] = (0.9, 0.999)
    """For "adamw"."""
    final_factor: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the peak rate that "linear" and "cosine" end at."""
    lora_modules: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of linear modules that get an adapter, as in peft; None: all of them."""
    dtype: Dtype = "auto"
    """What the matrix products are computed in; weights, gradients and pooled features are float32. "auto":
    bfloat16 for encoders on a processor that is fast in it, else float32."""
    train_mode: bool = False
    """Run learning steps in the module's train() mode, with its dropout and running norm statistics. Off by
    default: without dropout a step on few examples is less noisy, deterministic and faster."""
    max_length: int | None = Field(default=None, ge=3)
    """Tokens of a text that are read; None: as the trunk says."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Starts everything random: LoRA's first weights, dropout."""

    @field_validator("max_gradient_norm")
    @classmethod
    def _norm_is_not_zero(cls, norm: float | None) -> float | None:
        if norm == 0:
            raise ValueError("be above 0, or None for no clipping")
        return norm

    @field_validator("betas")
    @classmethod
    def _betas_are_decays(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("be two numbers in [0, 1)")
        return betas

    @field_validator("trainable")
    @classmethod
    def _is_a_part(cls, trainable: str) -> str:
        layers = _layers_in(trainable)
        if not (layers[0] <= layers[1] if layers else trainable in _WHOLE_PARTS):
            names = ", ".join(map(repr, _WHOLE_PARTS))
            raise ValueError(f"be {names}, or 'layers:K-N' or 'lora:K-N' with K not above N")
        return trainable

    @model_validator(mode="after")
    def _ends_after_its_warmup(self) -> Self:
        needs_total = self.schedule in ("linear", "cosine")
        total = self.total_steps
        if total <= self.warmup_steps if total is not None else needs_total:
            raise ValueError(
                f"total_steps must be above warmup_steps for schedule {self.schedule!r}, not {total!r}"
            )
        return self

    @property
    def trainable_part(self) -> TrainablePart:
        """``trainable`` without the layers' numbers."""
        part = self.trainable.split(":")[0]
        assert part in get_args(TrainablePart)
        return part  # type: ignore[return-value]

    @property
    def trainable_layers(self) -> tuple[int, int] | None:
        """First and last trained layer, where ``trainable`` names them."""
        return _layers_in(self.trainable)

    @property
    def model_learning_rate(self) -> float:
        """Peak learning rate below the head, default filled in."""
        if self.learning_rate is not None:
            return self.learning_rate
        # A low-rank update starts at zero and takes larger steps than the pretrained weights bear.
        return _LEARNING_RATES[self.optimizer][0] * (_LORA_FACTOR if self.trainable_part == "lora" else 1.0)

    @property
    def resolved_head_learning_rate(self) -> float:
        """Peak learning rate of the head, default filled in."""
        if self.head_learning_rate is not None:
            return self.head_learning_rate
        return _LEARNING_RATES[self.optimizer][1]


def _layers_in(trainable: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"(?:layers|lora):(\d+)-(\d+)", trainable)
    return (int(match[1]), int(match[2])) if match else None
