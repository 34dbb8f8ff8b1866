"""Tensors and JSON in one safetensors file, however much JSON it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from everlearn.types import Json

__all__ = ["read_state_file", "write_state_file"]

_LARGEST_IN_HEADER = 16 << 20
"""Bytes of JSON that go into the header. safetensors refuses one above 100 MB, in which quotes are escaped
once more."""


def write_state_file(path: Path, key: str, data: Json, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a file; not atomic by itself.

    Args:
        path: The file.
        key: What the JSON is called in it.
        data: JSON; what is too large for the header becomes a tensor of bytes.
        tensors: By name.

    Raises:
        OSError: Writing failed (also SafetensorError).
        ValueError: ``data`` is no JSON.
    """
    written = {name: tensor.contiguous() for name, tensor in tensors.items()}
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    encoded = text.encode()
    if len(encoded) > _LARGEST_IN_HEADER:
        written[_tensor_of(key)] = torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
        text = ""
    save_file(written, path, {key: text})


def read_state_file(path: Path, key: str) -> tuple[Json, dict[str, torch.Tensor]]:
    """The JSON and the tensors of a file.

    Raises:
        OSError: It cannot be read; SafetensorError, KeyError, ValueError, TypeError: it is not such a file.
    """
    with safe_open(path, framework="pt") as opened:
        text = opened.metadata()[key]
        data = json.loads(text or opened.get_tensor(_tensor_of(key)).numpy().tobytes())
        # Copied to where torch would have put them: some products depend, in the last bit, on how their
        # operands are aligned, and those of a file are as it happens.
        names = [name for name in opened.keys() if name != _tensor_of(key)]  # noqa: SIM118
        return data, {name: opened.get_tensor(name).clone() for name in names}


def _tensor_of(key: str) -> str:
    return f"{key}.json"
