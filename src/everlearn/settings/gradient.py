"""Learning by gradients: optimization, stability, and what is replayed."""

from __future__ import annotations

from typing import Any, Literal

from everlearn.settings.conditions import (
    BELOW_THE_HEAD,
    BY_GRADIENTS,
    OF_LABELS,
    WITH_REPLAY,
    Condition,
    is_one_of,
)
from everlearn.settings.section import Section, setting

__all__ = ["GradientSettings", "OptimizationSettings", "OptimizerName", "ScheduleName", "StabilitySettings"]

OptimizerName = Literal["sgd", "momentum", "adagrad", "adamw"]
ScheduleName = Literal["constant", "linear", "cosine", "inverse-sqrt"]

_SCHEDULE, _TRAINABLE = "learner.gradient.schedule", "learner.gradient.trainable"
_CHANGING_RATE = Condition(
    _SCHEDULE, lambda values: BELOW_THE_HEAD.holds(values) or values[_SCHEDULE] != "constant"
)
_LORA = (Condition(_TRAINABLE, lambda values: str(values[_TRAINABLE]).split(":")[0] == "lora"),)


class OptimizationSettings(Section, panel="Gradient learner", needs=BY_GRADIENTS):
    """How steps are made."""

    optimizer: OptimizerName = setting("adamw", "--optimizer", "NAME")
    """sgd, momentum, adagrad or adamw."""
    learning_rate: float | None = setting(
        None,
        "--learning-rate",
        "RATE",
        gt=0.0,
        default_text="chosen for the optimizer (adamw: 4e-5; LoRA: 2e-4)",
        needs=(BELOW_THE_HEAD,),
        shown_for=("lm", "seq2seq"),
    )
    """Peak rate below the head. It may be changed later, for what is learned then."""
    head_learning_rate: float | None = setting(
        None,
        "--head-learning-rate",
        "RATE",
        gt=0.0,
        default_text="chosen for the optimizer (adamw: 2e-3)",
        needs=OF_LABELS,
    )
    """Peak rate of the head."""
    momentum: float = setting(
        0.9, unit="DECAY", ge=0.0, lt=1.0, needs=(is_one_of("learner.gradient.optimizer", "momentum"),)
    )
    """Of the optimizer momentum."""
    weight_decay: float = setting(0.0, unit="FACTOR", ge=0.0)
    """Of matrices only, never of biases and norms; decoupled for adamw, L2 otherwise."""
    schedule: ScheduleName = setting("constant", "--schedule", "NAME")
    """constant, linear, cosine or inverse-sqrt."""
    warmup_steps: int = setting(20, "--warmup-steps", "STEPS", ge=0, needs=(_CHANGING_RATE,))
    """Steps in which the rate rises."""
    total_steps: int | None = setting(
        None, "--total-steps", "STEPS", ge=1, needs=(is_one_of(_SCHEDULE, "linear", "cosine"),)
    )
    """Where linear and cosine end; needed by them."""
    max_gradient_norm: float | None = setting(1.0, "--clip", "NORM", ge=0.0)
    """Scale gradients down to this norm; 0: never."""
    trainable: str | None = setting(
        None,
        "--train",
        "PART",
        min_length=1,
        default_text="all; language models: lora",
        own_defaults={"lm": "lora"},
        shown_for=("lm", "seq2seq"),
    )
    """all, head, embeddings, encoder, decoder, layers:K-N, lora or lora:K-N. LoRA
    needs the extra lora."""
    lora_rank: int = setting(8, "--lora-rank", "R", ge=1, needs=_LORA)
    """Rank of LoRA updates."""
    lora_alpha: int = setting(16, unit="N", ge=1, needs=_LORA)
    """LoRA updates are scaled by N / rank."""
    max_classes: int = setting(10_000, "--max-classes", "N", ge=1, needs=OF_LABELS)
    """Records with a label beyond so many are rejected; may be changed later."""


class StabilitySettings(Section, panel="Gradient learner", needs=BY_GRADIENTS):
    """What keeps a long run of steps from going wrong."""

    average_decay: float | None = setting(None, "--average-decay", "DECAY", gt=0.0, lt=1.0)
    """Predict with a moving average of the weights; its decay per step (0.99)."""
    spike_deviations: float | None = setting(None, "--spike-deviations", "N", gt=0.0, default_text="never")
    """Leave out steps whose loss is so many standard deviations above the usual loss."""


class GradientSettings(OptimizationSettings, StabilitySettings):
    """Learning by gradients."""

    replay: int = setting(0, "--replay", "N", ge=0, shown_for=("lm", "seq2seq"))
    """Examples kept for replay. For language models: pieces of up to a chunk. Each takes up to 900 bytes and
    4 bytes per token. 0: none."""
    replayed: int | None = setting(
        None,
        unit="N",
        ge=1,
        default_text="as many as a batch has",
        needs=(
            is_one_of("task", "classify", "seq2seq"),
            WITH_REPLAY,
            is_one_of("learner.gradient.replay_share", None),
        ),
    )
    """Examples replayed in every step."""
    replay_share: float | None = setting(
        None, "--replay-share", "SHARE", gt=0.0, default_text="0.5 for language models", needs=(WITH_REPLAY,)
    )
    """Replayed tokens per new token."""
    methods: dict[str, dict[str, Any]] = setting({}, "--method", "NAME")
    """Another continual-learning method with its default settings (distillation, orthogonal, anchor …); can
    be given several times."""
