"""Loading an encoder-decoder with its tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from everlearn.models.storage.dtype import DeviceName, DtypeName
from everlearn.models.storage.pretrained import load_pretrained

__all__ = ["Seq2SeqModel", "load_seq2seq_model"]


@dataclass(frozen=True, slots=True, eq=False)
class Seq2SeqModel:
    """An encoder-decoder, ready to run.

    Attributes:
        model: The transformers ``PreTrainedModel``, in evaluation mode; its weights take gradients.
        tokenizer: Its tokenizer, for sources and (by ``text_target``) targets.
        name: Its name for people.
        sha256: SHA-256 of the weights (hex).
        max_length: Most tokens of a source or a target; None where it knows no limit (relative positions).
    """

    model: Any
    tokenizer: Any
    name: str
    sha256: str
    max_length: int | None


def load_seq2seq_model(
    spec: str,
    *,
    dtype: DtypeName = "auto",
    device: DeviceName = "auto",
    on_message: Callable[[str], None] | None = None,
) -> Seq2SeqModel:
    """Load an encoder-decoder.

    Args:
        spec: A local folder, "package:NAME" for an installed package that carries a model, or a name on the
            Hugging Face hub.
        dtype: "auto" takes bfloat16 where the processor does it well.
        device: "auto" takes CUDA where there is a usable device.
        on_message: Is told before something that takes long.

    Raises:
        ModelError: The model cannot be found, is no encoder-decoder, or its files are damaged.
        ConfigError: An unknown dtype or device.
    """
    loaded = load_pretrained("seq2seq", spec, dtype=dtype, device=device, on_message=on_message)
    return Seq2SeqModel(loaded.model, loaded.tokenizer, loaded.name, loaded.sha256, loaded.max_length)
