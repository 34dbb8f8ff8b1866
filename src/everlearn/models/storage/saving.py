"""Saving a model in the layouts that others read: transformers' for whole models, peft's for adapters."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from everlearn.errors import ConfigError, ModelError, StorageError
from everlearn.models.added_rows import SplitEmbedding, SplitHead
from everlearn.models.storage.export_check import check_adapter, check_full, check_rounded
from everlearn.models.storage.merged_weights import bare_model, has_adapters, plain_model
from everlearn.models.storage.quiet import quiet_transformers
from everlearn.models.tying.structure import tying_of

__all__ = ["FormName", "SavedDtypeName", "check_folder", "save_model"]

FormName = Literal["full", "adapter"]
SavedDtypeName = Literal["float32", "bfloat16", "float16"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_PREFIX = "base_model.model."
_OF_MODELS = ("config.json", "adapter_config.json")


def save_model(
    folder: Path,
    model: Any,
    tokenizer: Any,
    *,
    form: FormName = "full",
    dtype: SavedDtypeName | None = None,
    base_model: str | None = None,
    overwrite: bool = False,
) -> float | None:
    """Save a model and its tokenizer; a crash leaves the whole folder or nothing of it.

    The model is not changed: adapters are merged into copies. What was written is read again by plain
    transformers or peft, and its logits of a few tokens are compared with the model's, both in float32: a
    folder that says something else is not left behind.

    Args:
        folder: Is made. It must not exist, be empty, or be overwritten.
        model: A transformers model, with or without adapters (``peft.get_peft_model`` or
            ``peft.inject_adapter_in_model``).
        tokenizer: Its tokenizer.
        form: "full" writes the whole model, active adapters merged in, for ``from_pretrained`` of
            transformers. "adapter" writes the active adapter alone, for ``peft.PeftModel.from_pretrained``.
        dtype: Number format on disk; None: as in memory.
        base_model: Folder or hub name of the model that an adapter belongs to, recorded with it, so that
            ``peft.AutoPeftModel`` finds it; None: what the model was loaded from.
        overwrite: Replace the model that is in the folder.

    Returns:
        The largest difference of two logits, which of a rounded model is the price of its number format.
        None for an adapter of a model that was loaded from nowhere: there is nothing to put it on.

    Raises:
        ConfigError: An unknown form or dtype.
        ModelError: There is no adapter to save alone, there are several, the model has more that was
            trained than the adapter, or what was written gives other logits; says what differs.
        StorageError: The folder holds something, or cannot be written.
    """
    if form not in ("full", "adapter"):
        raise ConfigError(f"form: {form!r} is not one of 'full', 'adapter'")
    if dtype is not None and dtype not in _DTYPES:
        raise ConfigError(f"dtype: {dtype!r} is not one of {', '.join(map(repr, _DTYPES))}")
    if tying_of(model.config) is not None:
        raise ModelError(
            "the model's layers share weights (everlearn tie), which other programs cannot read; its own "
            "folder is what everlearn reads"
        )
    number_format = None if dtype is None else _DTYPES[dtype]
    with _replacing_folder(folder, overwrite) as temporary, quiet_transformers():
        if form == "full":
            difference: float | None = _save_full(temporary, model, number_format)
        else:
            difference = _save_adapter(temporary, model, number_format, base_model)
        tokenizer.save_pretrained(temporary)
    return difference


def _save_full(folder: Path, model: Any, dtype: torch.dtype | None) -> float:
    plain = plain_model(model, dtype)
    if _is_exact(plain.state_dict().values()):
        _write(plain, folder)
        return check_full(folder, model)
    # Rounding hides what is missing, so the merge is checked without it, and then what was rounded.
    _write(plain_model(model, torch.float32), folder)
    check_full(folder, model)
    for path in folder.iterdir():
        path.unlink()
    _write(plain, folder)
    return check_rounded(folder, plain.state_dict(), model)


def _write(plain: Any, folder: Path) -> None:
    try:
        plain.save_pretrained(folder)
    except RuntimeError as error:
        raise ModelError(f"{type(plain).__name__} cannot be saved: {str(error).splitlines()[0]}") from error


def _is_exact(tensors: Iterable[torch.Tensor]) -> bool:
    return all(tensor.dtype == torch.float32 for tensor in tensors if tensor.is_floating_point())


def _save_adapter(
    folder: Path, model: Any, dtype: torch.dtype | None, base_model: str | None
) -> float | None:
    if not has_adapters(model):
        raise ModelError("the model has no adapter; save the whole model (without --adapter)")
    bare = bare_model(model)
    if any(isinstance(module, (SplitEmbedding, SplitHead)) for module in bare.modules()):
        raise ModelError(
            "the rows of new tokens are no part of the adapter; save the whole model (without --adapter)"
        )
    name = _active_adapter(bare)
    base = bare.name_or_path or None
    _write_adapter(folder, model, name, None, base_model or base)
    difference = None if base is None else check_adapter(folder, model, base)
    if dtype is not None:
        _write_adapter(folder, model, name, dtype, base_model or base)
        if base is not None:
            difference = check_adapter(folder, model, base, is_rounded=dtype != torch.float32)
    return difference


def _write_adapter(
    folder: Path, model: Any, name: str, dtype: torch.dtype | None, base_model: str | None
) -> None:
    from peft import get_peft_model_state_dict

    bare = bare_model(model)
    tensors = get_peft_model_state_dict(
        model, adapter_name=name, save_embedding_layers=_embeddings_are_trained(bare)
    )
    weights = {
        # An adapter that was put in place lacks the names of the wrapper that reads it.
        key if key.startswith(_PREFIX) else f"{_PREFIX}{key}": tensor.detach()
        .to(tensor.dtype if dtype is None else dtype)
        .contiguous()
        .clone()  # tensors that share memory cannot be written
        for key, tensor in tensors.items()
    }
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    config = copy.deepcopy(model.peft_config[name])
    config.inference_mode = True
    config.base_model_name_or_path = base_model or config.base_model_name_or_path
    if config.task_type is None:
        config.task_type = "SEQ_2_SEQ_LM" if bare.config.is_encoder_decoder else "CAUSAL_LM"
    if isinstance(config.target_modules, set):
        config.target_modules = sorted(config.target_modules)
    config.save_pretrained(folder)


def _embeddings_are_trained(bare: Any) -> bool:
    """Whether embedding or head are trained as they are; what peft has wrapped is saved anyway."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    return any(
        module is not None
        and not isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper))
        and any(parameter.requires_grad for parameter in module.parameters())
        for module in (bare.get_input_embeddings(), bare.get_output_embeddings())
    )


def _active_adapter(bare: Any) -> str:
    from peft.tuners.tuners_utils import BaseTunerLayer

    active = {
        name
        for module in bare.modules()
        if isinstance(module, BaseTunerLayer)
        for name in module.active_adapters
    }
    if len(active) != 1:
        raise ModelError(f"one adapter must be active to be saved alone, not {sorted(active) or 'none'}")
    return str(active.pop())


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Whether a model may be written there.

    Raises:
        StorageError: Something is there already (a saved model may be overwritten, nothing else), or it
            cannot be looked at.
    """
    try:
        holds_something = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}") from error
    if holds_something and not overwrite:
        raise StorageError(f"{folder} is not empty; give another folder, or overwrite it (--overwrite)")
    if holds_something and not any((folder / name).is_file() for name in _OF_MODELS):
        raise StorageError(
            f"{folder} holds something else than a saved model, and only such a folder is overwritten; give "
            "another folder"
        )


@contextmanager
def _replacing_folder(folder: Path, overwrite: bool) -> Iterator[Path]:
    """Give a folder to write to; at the end fsync what is in it and rename it to ``folder``."""
    check_folder(folder, overwrite=overwrite)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}") from error
    try:
        yield temporary
        for path in [*temporary.rglob("*"), temporary]:
            path.chmod(0o755 if path.is_dir() else 0o644)
            _fsync(path)
        if overwrite and folder.exists():
            _remove_aside(folder)
        temporary.rename(folder)
        _fsync(folder.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StorageError(f"cannot write {folder}: {reason}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_aside(path: Path) -> None:
    """Rename first, so that what is read by its name is whole or missing."""
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent))
    path.rename(aside / path.name)
    shutil.rmtree(aside)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
