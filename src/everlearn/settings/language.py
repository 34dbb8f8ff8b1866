"""How a language model reads documents."""

from __future__ import annotations

from typing import Literal

from everlearn.settings.conditions import OF_DOCUMENTS, Condition, is_not
from everlearn.settings.section import Section, setting

__all__ = ["CHUNK_LENGTH", "ROOMY_WINDOW", "CarrySettings", "LanguageSettings", "ReadingSettings"]

PANEL = "Language model (--task lm)"
_CARRY = "learner.language.carry"
# "No window" is true without any context, too.
_WITH_WINDOW = Condition(
    _CARRY,
    lambda values: values[_CARRY] not in ("none", "recurrent") or values["learner.language.window"] == 0,
)


ROOMY_WINDOW = 2_048
"""The window of a run that names none, where the model has room: see docs/benchmarks.md, carried context."""
CHUNK_LENGTH = 256


class CarrySettings(Section, panel=PANEL, needs=OF_DOCUMENTS):
    """What a language model carries from chunk to chunk."""

    sinks: int = setting(4, "--sinks", "TOKENS", ge=0, needs=(is_not(_CARRY, "none", "recurrent"),))
    """First tokens of a document (sinks) that every chunk can attend to."""
    gradient_chunks: int = setting(
        0,
        "--gradient-chunks",
        "N",
        ge=0,
        default_text="0, the context is detached",
        needs=(is_not(_CARRY, "none"),),
    )
    """Earlier chunks that gradients flow into."""


class ReadingSettings(Section, panel=PANEL, needs=OF_DOCUMENTS):
    """How much a language model reads at once."""

    tokens_per_step: int = setting(1024, "--tokens-per-step", "TOKENS", ge=1)
    """New tokens per optimizer step. If more than one chunk per lane, gradients are accumulated."""
    gradient_checkpointing: bool = setting(False, "--gradient-checkpointing")
    """Use less memory and a third more time: keep one hidden state per layer, compute the rest again."""


class LanguageSettings(ReadingSettings, CarrySettings):
    """How a language model reads documents."""

    lanes: int = setting(4, "--lanes", "N", ge=1, le=4_096)
    """Documents that are read side by side."""
    chunk_length: int | None = setting(
        None,
        "--chunk-length",
        "TOKENS",
        ge=2,
        default_text=f"{CHUNK_LENGTH}, or half of the model's trained length",
    )
    """Tokens of a document that are read at once."""
    carry: Literal["auto", "attention", "recurrent", "none"] = setting(
        "auto", "--carry", "KIND", default_text="by the model"
    )
    """What is carried from chunk to chunk: attention (keys and values), recurrent (state), none."""
    window: int | None = setting(
        None,
        "--window",
        "TOKENS",
        ge=0,
        default_text=f"{ROOMY_WINDOW}, or what the model's trained length has room for",
        needs=(_WITH_WINDOW,),
    )
    """Tokens before a chunk that it can attend to; 0: all of the document."""
