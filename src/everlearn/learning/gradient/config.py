"""Settings of the gradient learner."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from everlearn.errors import ConfigError

__all__ = ["GradientConfig", "OptimizerName", "ScheduleName", "TrainablePart"]

OptimizerName = Literal["sgd", "momentum", "adagrad", "adamw"]
ScheduleName = Literal["constant", "linear", "cosine", "inverse-sqrt"]
TrainablePart = Literal["all", "head", "embeddings", "encoder", "decoder", "layers", "lora"]
_WHOLE_PARTS = ("all", "head", "embeddings", "encoder", "decoder", "lora")
_Dtype = Literal["auto", "float32", "bfloat16"]

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


@dataclass(frozen=True, kw_only=True)
class GradientConfig:
    """How a gradient learner makes its steps.

    Attributes:
        optimizer: "sgd", "momentum" (SGD with momentum), "adagrad" or "adamw".
        learning_rate: Peak learning rate of the model below the head; None: chosen for the optimizer.
        head_learning_rate: Peak learning rate of the head; None: chosen for the optimizer.
        momentum: For "momentum".
        betas: For "adamw".
        weight_decay: Decoupled for "adamw", L2 otherwise; of matrices only, never of biases and norms.
        schedule: What follows the warm-up: "constant" fits a stream without end; "linear" and
            "cosine" fall to ``final_factor`` at ``total_steps`` and stay there; "inverse-sqrt" falls as
            1/sqrt(step).
        warmup_steps: Steps over which the rate of the model below the head rises linearly; the head,
            which starts at zero, has no warm-up.
        total_steps: Needed by "linear" and "cosine" only.
        final_factor: Share of the peak rate that "linear" and "cosine" end at.
        max_gradient_norm: Gradients are scaled to at most this total norm; None: no clipping.
        trainable: "all", "head", "embeddings", "encoder" or "decoder" (of an encoder-decoder), "layers:K-N"
            (layers K to N, both included, from 0), "lora", or "lora:K-N" (adapters in these layers only, so
            that low layers stay as they are). A classifier's head is always trained, as it starts at zero.
        lora_rank: Rank of the LoRA updates.
        lora_alpha: Their scale is lora_alpha / lora_rank.
        lora_modules: Names of linear modules that get an adapter, as in peft; None: all of them.
        dtype: What the matrix products are computed in; weights, gradients and pooled features are
            float32. "auto": bfloat16 for encoders on a processor that is fast in it, else float32.
        train_mode: Run learning steps in the module's train() mode, with its dropout and running
            norm statistics. Off by default: without dropout a step on few examples is less noisy,
            deterministic and faster.
        max_length: Tokens of a text that are read; None: as the trunk says.
        max_classes: Bound of the head.
        seed: Starts everything random: LoRA's first weights, dropout.

    Raises:
        ConfigError: Names the field and the value.
    """

    optimizer: OptimizerName = "adamw"
    learning_rate: float | None = None
    head_learning_rate: float | None = None
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: ScheduleName = "constant"
    warmup_steps: int = 20
    total_steps: int | None = None
    final_factor: float = 0.0
    max_gradient_norm: float | None = 1.0
    trainable: str = "all"
    lora_rank: int = 8
    lora_alpha: int = 16
    lora_modules: tuple[str, ...] | None = None
    dtype: _Dtype = "auto"
    train_mode: bool = False
    max_length: int | None = None
    max_classes: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("optimizer", OptimizerName), ("schedule", ScheduleName), ("dtype", _Dtype)):
            self._require(name, getattr(self, name) in get_args(choices), f"one of {list(get_args(choices))}")
        for name in ("learning_rate", "head_learning_rate", "max_gradient_norm"):
            value = getattr(self, name)
            self._require(name, value is None or 0 < value < math.inf, "None or a positive number")
        self._require("momentum", 0 <= self.momentum < 1, "in [0, 1)")
        betas_are_valid = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        self._require("betas", betas_are_valid, "two numbers in [0, 1)")
        self._require("weight_decay", 0 <= self.weight_decay < math.inf, "a number from 0")
        self._require("warmup_steps", self.warmup_steps >= 0, "at least 0")
        needs_total = self.schedule in ("linear", "cosine")
        total_is_valid = (
            self.total_steps > self.warmup_steps if self.total_steps is not None else not needs_total
        )
        self._require("total_steps", total_is_valid, f"above warmup_steps for schedule {self.schedule!r}")
        self._require("final_factor", 0 <= self.final_factor <= 1, "in [0, 1]")
        self._trainable_layers()
        self._require("lora_rank", self.lora_rank >= 1, "at least 1")
        self._require("lora_alpha", self.lora_alpha >= 1, "at least 1")
        self._require(
            "lora_modules", self.lora_modules is None or len(self.lora_modules) > 0, "None or names"
        )
        self._require("max_length", self.max_length is None or self.max_length >= 3, "None or at least 3")
        self._require("max_classes", self.max_classes >= 1, "at least 1")
        self._require("seed", 0 <= self.seed < 2**63, "in [0, 2**63)")

    def _require(self, name: str, condition: bool, expected: str) -> None:
        if not condition:
            raise ConfigError(f"{name} must be {expected}, not {getattr(self, name)!r}")

    def _trainable_layers(self) -> tuple[int, int] | None:
        match = re.fullmatch(r"(?:layers|lora):(\d+)-(\d+)", self.trainable)
        layers = (int(match[1]), int(match[2])) if match else None
        is_valid = layers[0] <= layers[1] if layers else self.trainable in _WHOLE_PARTS
        names = ", ".join(map(repr, _WHOLE_PARTS))
        self._require("trainable", is_valid, f"{names}, or 'layers:K-N' or 'lora:K-N' with K not above N")
        return layers

    @property
    def trainable_part(self) -> TrainablePart:
        """``trainable`` without the layers' numbers."""
        part = self.trainable.split(":")[0]
        assert part in get_args(TrainablePart)
        return part  # type: ignore[return-value]

    @property
    def trainable_layers(self) -> tuple[int, int] | None:
        """First and last trained layer, where ``trainable`` names them."""
        return self._trainable_layers()

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
