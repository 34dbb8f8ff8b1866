"""A tied model on the disk: configuration, tokenizer, and each weight once, however many layers have it.

Its weights are in ``tied.safetensors``, so that plain transformers, which would not tie the layers, says that
it finds none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from everlearn.errors import ModelError
from everlearn.models.storage.skeleton import all_weights, assembled
from everlearn.models.tying.structure import tied_structure

__all__ = ["load_tied", "save_tied"]

_WEIGHTS = "tied.safetensors"


def save_tied(folder: Path, model: Any, tokenizer: Any) -> None:
    """Write a tied model.

    Args:
        folder: Exists.
        model: As of ``tied``.
        tokenizer: Its tokenizer.

    Raises:
        OSError, SafetensorError: Writing failed.
    """
    firsts = _first_names(model)
    weights = {name: tensor for name, tensor in all_weights(model).items() if firsts[name] == name}
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / _WEIGHTS)
    tokenizer.save_pretrained(folder)
    model.config.save_pretrained(folder)  # last: without it there is no model


def load_tied(
    folder: Path, auto_class: Any, config: Any, dtype: torch.dtype, **arguments: Any
) -> torch.nn.Module:
    """Read a tied model, in evaluation mode and without gradients.

    Args:
        folder: As of ``save_tied``.
        auto_class: One of transformers' ``AutoModel…``.
        config: Its configuration.
        dtype: Number format of the weights.
        **arguments: Of ``from_config``.

    Raises:
        ModelError: The weights are missing, or of another model.
        OSError, SafetensorError: They cannot be read.
    """
    if not (folder / _WEIGHTS).is_file():
        raise ModelError(f"{folder} holds no {_WEIGHTS}, the weights of its tied layers")
    stored = load_file(folder / _WEIGHTS)

    def build() -> Any:
        return tied_structure(auto_class, config, dtype=dtype, **arguments)

    with torch.device("meta"):
        structure = build()
    firsts, wanted = _first_names(structure), all_weights(structure)
    if not firsts.keys() & stored.keys():  # an encoder is asked for, and a model that writes is stored
        within = f"{structure.base_model_prefix}."
        stored = {name.removeprefix(within): one for name, one in stored.items() if name.startswith(within)}
    held = {first for first in firsts.values() if first in stored}
    known = {first: stored[first].to(wanted[first].dtype) for first in held}
    weights = {name: known[first] for name, first in firsts.items() if first in known}
    return assembled(build, weights, str(folder))  # type: ignore[no-any-return]


def _first_names(model: Any) -> dict[str, str]:
    """Of each weight the first name that it goes by."""
    first_of: dict[int, str] = {}
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: first_of.setdefault(id(tensor), name) for name, tensor in named}
