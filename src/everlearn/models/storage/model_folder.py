"""Reading a transformers model from its folder, tied or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from everlearn.models.tying.folder import load_tied
from everlearn.models.tying.structure import tying_of

__all__ = ["read_model"]


def read_model(
    folder: Path, auto_class: Any, config: Any, dtype: torch.dtype, **arguments: Any
) -> tuple[Any, Mapping[str, Sequence[Any]]]:
    """A model, and what of it the folder lacks: ``missing_keys`` and ``mismatched_keys``.

    Args:
        folder: Holds the weights; only safetensors are read.
        auto_class: One of transformers' ``AutoModel…``.
        config: The model's configuration.
        dtype: Number format of the weights.
        **arguments: Of ``from_config``.

    Raises:
        ModelError: Of a tied model, weights are missing or of another one.
        OSError, SafetensorError: They cannot be read.
    """
    if tying_of(config) is not None:
        model = load_tied(folder, auto_class, config, dtype, **arguments)
        return model, {"missing_keys": (), "mismatched_keys": ()}
    model, report = auto_class.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
        **arguments,
    )
    return model, report
