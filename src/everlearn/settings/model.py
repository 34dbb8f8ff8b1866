"""The pretrained model and how texts are read with it."""

from __future__ import annotations

from typing import Literal

from everlearn.settings.conditions import CLOSED_FORM, OF_LABELS
from everlearn.settings.section import EVERY_TASK, Section, setting

__all__ = ["Dtype", "ModelSettings"]

Dtype = Literal["auto", "float32", "bfloat16"]


class ModelSettings(Section, panel="Model"):
    """The pretrained model and how texts are read with it."""

    name: str | None = setting(
        None,
        "--model",
        "NAME",
        min_length=1,
        default_text="minilm; language models: smollm2; encoder-decoders: none",
        own_defaults={"closed-form": "minilm", "gradient": "minilm", "lm": "smollm2", "seq2seq": None},
        shown_for=EVERY_TASK,
    )
    """minilm, smollm2, a folder, or a name on the Hugging Face hub. A package with a model in it is called
    package:NAME. It is an encoder for labels, else a language model or an encoder-decoder."""
    adapter: str | None = setting(
        None, "--adapter", "FOLDER", min_length=1, default_text="none", needs=CLOSED_FORM
    )
    """A LoRA adapter of the encoder, in peft's format, to read texts with. The run keeps a copy."""
    max_length: int = setting(256, "--max-length", "TOKENS", ge=8, le=32_768, needs=OF_LABELS)
    """Longer texts are cut."""
    windows: int = setting(1, "--windows", "N", ge=1, le=1_000, needs=CLOSED_FORM)
    """Read up to N windows of --max-length tokens of a long text and average them."""
    layers: tuple[int, ...] | None = setting(
        None, unit="N", default_text="a spread by the depth", needs=CLOSED_FORM
    )
    """Encoder layers whose pooled states make the code."""
    sketch_size: int = setting(1024, unit="N", ge=0, le=8_192, needs=CLOSED_FORM)
    """Components of a code that sketch the n-grams of its words and characters; 0: none."""
    dtype: Dtype = setting(
        "auto", "--dtype", "TYPE", default_text="auto (bfloat16 where the processor is fast at it)"
    )
    """auto, float32 or bfloat16."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "--device", "NAME")
    """auto, cpu or cuda."""
    batch_invariant: bool = setting(False, "--batch-invariant", needs=CLOSED_FORM)
    """Encode each text to the same bits whatever is beside it; slower."""
