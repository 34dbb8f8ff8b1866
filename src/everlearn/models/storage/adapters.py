"""Low-rank adapters of a trunk in the format of peft: read, written, merged into the weights.

W' = W + scaling · B A (Hu et al. 2021, https://arxiv.org/abs/2106.09685). A saved folder is what
``peft.PeftModel.from_pretrained`` takes; reading one here does not need peft.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from everlearn.errors import ModelError
from everlearn.models.encoder.load import Trunk, load_trunk
from everlearn.models.storage.dtype import DeviceName, DtypeName, choose_dtype
from everlearn.models.tying.shared_linear import SharedLinear

__all__ = [
    "ADAPTER_FILES",
    "Adapter",
    "adapted_sha256",
    "check_fits",
    "load_adapted_trunk",
    "merge_adapter",
    "read_adapter",
    "stored_bytes",
    "version_of",
    "write_adapter",
]

_WEIGHTS = "adapter_model.safetensors"
_SETTINGS = "adapter_config.json"
ADAPTER_FILES = (_SETTINGS, _WEIGHTS)
_PREFIX = "base_model.model."
_OTHER_KINDS = ("use_dora", "modules_to_save")


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """Low-rank changes of linear layers.

    Attributes:
        tensors: float32 A (rank, in) and B (out, rank) by the layer's dotted name and ``.lora_A`` or
            ``.lora_B``.
        scaling: Factor of B A.
        name: What messages call it.
    """

    tensors: dict[str, Tensor]
    scaling: float = 1.0
    name: str = "the adapter"

    @property
    def rank(self) -> int:
        """Rows of A, at most."""
        return max(self.ranks().values())

    def ranks(self) -> dict[str, int]:
        """Rows of A, by layer."""
        return {layer: len(self.tensors[f"{layer}.lora_A"]) for layer in self.layers}

    @property
    def layers(self) -> list[str]:
        """Names of the adapted layers, sorted."""
        return sorted(name.removesuffix(".lora_A") for name in self.tensors if name.endswith(".lora_A"))

    def sha256(self) -> str:
        """SHA-256 (hex) of names, scaling and numbers."""
        digest = hashlib.sha256(repr(self.scaling).encode())
        for name in sorted(self.tensors):
            digest.update(name.encode())
            digest.update(self.tensors[name].contiguous().numpy().tobytes())
        return digest.hexdigest()


def write_adapter(folder: Path, adapter: Adapter, base_model: str) -> None:
    """Write an adapter as peft does.

    Args:
        folder: Exists.
        adapter: The adapter.
        base_model: Name of the model that it belongs to, recorded.

    Raises:
        OSError: Writing failed.
    """
    save_file(
        {f"{_PREFIX}{name}.weight": tensor.contiguous() for name, tensor in adapter.tensors.items()},
        folder / _WEIGHTS,
        {"format": "pt"},
    )
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_model,
        "r": adapter.rank,
        "lora_alpha": adapter.scaling * adapter.rank,
        "target_modules": adapter.layers,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }
    if others := {layer: rank for layer, rank in adapter.ranks().items() if rank != adapter.rank}:
        settings["rank_pattern"] = others
        settings["alpha_pattern"] = {layer: adapter.scaling * rank for layer, rank in others.items()}
    (folder / _SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter that ``write_adapter`` or peft wrote: LoRA of linear layers, in any ranks.

    Raises:
        ModelError: It is missing, damaged, or of a kind that is not known here.
    """
    if not folder.is_dir():
        what = "is a file; give the folder that peft wrote" if folder.exists() else "does not exist"
        raise ModelError(f"the adapter's folder {folder} {what}")
    if missing := next((name for name in ADAPTER_FILES if not (folder / name).is_file()), None):
        raise ModelError(f"{folder} holds no adapter of peft's format: {missing} is missing")
    file = folder / _SETTINGS
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        kind, alpha, rank = settings["peft_type"], float(settings["lora_alpha"]), int(settings["r"])
        alphas, ranks = dict(settings.get("alpha_pattern") or {}), dict(settings.get("rank_pattern") or {})
        if rank < 1 or any(int(one) < 1 for one in ranks.values()):
            raise ValueError("a rank is below 1")
        file = folder / _WEIGHTS
        stored = load_file(file)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"the adapter in {folder} cannot be read: {file.name}: {error}") from error
    odd_setting = next((name for name in _OTHER_KINDS if settings.get(name)), None)
    if kind != "LORA" or odd_setting is not None:
        what = f"it is of the kind {kind}" if kind != "LORA" else f"{odd_setting} is set"
        raise ModelError(f"the adapter in {folder} is no plain LoRA adapter: {what}")
    tensors = {
        name.removeprefix(_PREFIX).removesuffix(".weight"): tensor.float() for name, tensor in stored.items()
    }
    layers = {name.removesuffix(".lora_A") for name in tensors if name.endswith(".lora_A")}
    expected = {f"{layer}.lora_{part}" for layer in layers for part in "AB"}
    if lacking := sorted(expected - tensors.keys()):
        raise ModelError(f"the adapter in {folder} lacks {lacking[0]}")
    if not layers or (odd := sorted(tensors.keys() - expected)):
        what = odd[0] if layers else "no layer"
        raise ModelError(f"the adapter in {folder} is no plain LoRA adapter: it has {what}")
    scaling = _scaling(alpha, rank, settings) or 1.0
    for layer in layers:
        try:
            own_alpha = float(_by_pattern(alphas, layer, alpha))
            own_rank = float(_by_pattern(ranks, layer, rank))
        except (ValueError, TypeError, re.error) as error:
            raise ModelError(f"the adapter in {folder} cannot be read: {error}") from error
        own = _scaling(own_alpha, own_rank, settings)
        if own != scaling:  # one factor for all layers is kept
            tensors[f"{layer}.lora_B"] = tensors[f"{layer}.lora_B"] * (own / scaling)
    return Adapter(tensors, scaling, f"the adapter in {folder}")


def _scaling(alpha: float, rank: float, settings: Mapping[str, Any]) -> float:
    # Kalajdzievski 2023, https://arxiv.org/abs/2312.03732, divides by the root.
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _by_pattern(patterns: Mapping[str, Any], layer: str, general: float) -> Any:
    """What the first pattern says that fits the end of a layer's name, as peft reads it."""
    for pattern, value in patterns.items():
        if re.fullmatch(rf"(?:.*\.)?(?:{pattern})", layer):
            return value
    return general


def stored_bytes(folder: Path) -> int:
    """How large an adapter's numbers are, as they are stored; 0: there are none."""
    try:
        return (folder / _WEIGHTS).stat().st_size
    except OSError:
        return 0


def version_of(folder: Path) -> tuple[int, ...]:
    """Changes when an adapter in the folder is replaced by another; all alike while there is none."""
    try:
        stats = [(folder / name).stat() for name in ADAPTER_FILES]
    except OSError:
        return ()
    return tuple(number for one in stats for number in (one.st_ino, one.st_size, one.st_mtime_ns))


def check_fits(adapter: Adapter, trunk: Trunk) -> None:
    """Whether a trunk can use an adapter.

    Raises:
        ModelError: It is of another model, incomplete, or has numbers that are none.
    """
    linear = {
        name: module for name, module in trunk.model.named_modules() if isinstance(module, torch.nn.Linear)
    }
    for layer in adapter.layers:
        if layer not in linear:
            raise ModelError(
                f"{adapter.name} does not fit {trunk.name}: it is of another model, one with a layer {layer}"
            )
        own = linear[layer]
        try:
            down, up = adapter.tensors[f"{layer}.lora_A"], adapter.tensors[f"{layer}.lora_B"]
        except KeyError as error:
            raise ModelError(f"{adapter.name} lacks {error.args[0]}") from error
        wanted = (own.in_features, own.out_features, len(down))
        if down.dim() != 2 or up.dim() != 2 or (down.shape[1], up.shape[0], up.shape[1]) != wanted:
            raise ModelError(
                f"{adapter.name} does not fit {trunk.name}: {layer} has {own.in_features} inputs and "
                f"{own.out_features} outputs, A is {tuple(down.shape)}, B {tuple(up.shape)}"
            )
        if not bool(torch.isfinite(down).all() and torch.isfinite(up).all()):
            raise ModelError(f"{adapter.name} has numbers in {layer} that are not finite")


def adapted_sha256(trunk: Trunk, adapter: Adapter) -> str:
    """SHA-256 (hex) of a trunk's weights with an adapter's added."""
    return hashlib.sha256(f"{trunk.sha256} {adapter.sha256()}".encode()).hexdigest()


def merge_adapter(base: Trunk, adapter: Adapter, dtype: torch.dtype) -> Trunk:
    """Add an adapter to a trunk's weights, in place, then bring them to another number format.

    Args:
        base: In float32; its model is changed.
        adapter: The adapter.
        dtype: Number format of the result.

    Raises:
        ModelError: It does not fit the trunk, or the trunk's layers share weights.
    """
    check_fits(adapter, base)
    with torch.no_grad():
        for name in adapter.layers:
            down, up = adapter.tensors[f"{name}.lora_A"], adapter.tensors[f"{name}.lora_B"]
            layer = base.model.get_submodule(name)
            if isinstance(layer, SharedLinear):
                raise ModelError(
                    f"{base.name} has tied layers: what is added to {name} would be added to others, too"
                )
            weight = layer.weight
            assert isinstance(weight, Tensor)
            weight += (adapter.scaling * (up @ down)).to(weight.device)
    model: Any = base.model.to(dtype=dtype)
    if (base.device.type, dtype) == ("cpu", torch.bfloat16):
        model.set_attn_implementation("eager")  # the quicker one there, as in load_trunk
    return replace(base, model=model, sha256=adapted_sha256(base, adapter), dtype=dtype)


def load_adapted_trunk(
    spec: str, adapter_folder: Path, *, dtype: DtypeName = "auto", device: DeviceName = "auto"
) -> Trunk:
    """Load an encoder with an adapter merged into its weights. Arguments and errors as of ``load_trunk``.

    Args:
        spec: The model that the adapter belongs to.
        adapter_folder: In peft's format.
        dtype: As of ``load_trunk``.
        device: As of ``load_trunk``.
    """
    adapter = read_adapter(adapter_folder)
    base = load_trunk(spec, dtype="float32", device=device)
    return merge_adapter(base, adapter, choose_dtype(dtype, base.device))
