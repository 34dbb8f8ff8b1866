"""How an encoder-decoder reads and writes."""

from __future__ import annotations

from everlearn.settings.conditions import OF_PAIRS
from everlearn.settings.section import Section, setting

__all__ = ["PairSettings", "TranslationSettings"]


class PairSettings(Section, panel="Encoder-decoder (--task seq2seq)", needs=OF_PAIRS):
    """How an encoder-decoder reads pairs."""

    max_source_length: int | None = setting(
        None, "--max-source-length", "TOKENS", ge=2, default_text="what the model takes"
    )
    """Tokens of a source that are read."""
    max_target_length: int | None = setting(
        None,
        "--max-target-length",
        "TOKENS",
        ge=2,
        default_text="as many as the model takes; written are at most twice the source's and 16 more",
    )
    """Tokens of a target, learned or written."""
    source_language: str | None = setting(
        None,
        "--source-language",
        "CODE",
        min_length=1,
        default_text="as it was saved; needed where the tokenizer marks languages but has none",
        shown_for=("seq2seq",),
    )
    """Language of the sources, as the tokenizer has it (en_XX, eng_Latn, en …)."""
    target_language: str | None = setting(
        None,
        "--target-language",
        "CODE",
        min_length=1,
        default_text="as of the sources",
        shown_for=("seq2seq",),
    )
    """The same of the targets."""
    label_smoothing: float = setting(0.0, unit="SHARE", ge=0.0, lt=1.0)
    """Share of the target probability that is spread evenly over the vocabulary."""


class TranslationSettings(PairSettings):
    """How an encoder-decoder reads and writes."""

    beams: int = setting(1, "--beams", "N", ge=1, le=64, shown_for=("seq2seq",), also_called=("num_beams",))
    """Width of the beam search."""
    bleu_tokenizer: str = setting("13a", "--bleu-tokenizer", "NAME")
    """sacrebleu's tokenizer for BLEU: 13a, zh, char …"""
