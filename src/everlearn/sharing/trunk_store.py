"""Pretrained models in the form in which they compute, made once a machine and mapped by every process.

A folder holds files of weights, named by their SHA-256, and a record for each model that was asked for, which
says what it was made of. Where model, number format and files are as before, the weights are found by that
record, and nothing is read but headers. What is in the folder is derived: it may be deleted at any time, and
a file that is truncated or was changed is made anew, with a warning in the log.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from everlearn.errors import StateError, StorageError
from everlearn.journal.durable_files import fsync_folder, make_folder, storage_errors, write_json
from everlearn.models.encoder.load import Trunk, attention_of, load_trunk, read_layout
from everlearn.models.language.causal import LanguageModel
from everlearn.models.language.seq2seq import Seq2SeqModel
from everlearn.models.storage.dtype import DeviceName, DtypeName, choose_device, choose_dtype
from everlearn.models.storage.folder import find_model_folder
from everlearn.models.storage.gguf_folder import cache_folder
from everlearn.models.storage.pretrained import KindName, Pretrained, load_pretrained
from everlearn.models.storage.quiet import loading
from everlearn.models.storage.skeleton import all_weights, assembled
from everlearn.models.tying.structure import tied_structure
from everlearn.sharing.weight_file import MappedWeights, map_weights, write_weights
from everlearn.types import Json

__all__ = ["StoredWeights", "TrunkStore"]

_logger = logging.getLogger(__name__)
_FORMAT = 1
_SUFFIX = ".weights"
_REMEDY = (
    "It needs as much room as the model; XDG_CACHE_HOME says where. What is not used goes with: everlearn "
    "trunks --remove-unused"
)
_OF_ENCODERS = ("pooling", "max_length", "num_layers", "hidden_size", "sha256")
_DTYPE_NAMES: dict[torch.dtype, DtypeName] = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """A file of a store.

    Attributes:
        path: The file.
        sha256: Of the file (hex).
        num_bytes: Its length.
        models: What it was made of, with number format.
        is_used: Whether a process has it mapped.
    """

    path: Path
    sha256: str
    num_bytes: int
    models: tuple[str, ...]
    is_used: bool

    def to_json(self) -> dict[str, Json]:
        """As printed by ``trunks --json``."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "bytes": self.num_bytes,
            "models": list(self.models),
            "in_use": self.is_used,
        }


@dataclass(frozen=True, slots=True)
class _Source:
    """A model on disk, as a record names it."""

    kind: str
    name: str
    root: Path
    dtype: torch.dtype

    def described(self) -> dict[str, Json]:
        """What the weights are made of: where any of it is another one, they are made anew."""
        files = sorted({*self.root.rglob("*.safetensors"), *self.root.rglob("*.json")})
        return {
            "format": _FORMAT,
            "kind": self.kind,
            "root": str(self.root),
            "dtype": _DTYPE_NAMES[self.dtype],
            "files": [
                [str(file.relative_to(self.root)), file.stat().st_size, file.stat().st_mtime_ns]
                for file in files
            ],
        }


class TrunkStore:
    """Gives models whose weights all processes share; what one of them changes is its own.

    Args:
        folder: Where files of weights are kept. Default: a folder in the user's cache.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = cache_folder().parent / "trunks" if folder is None else folder

    def trunk(self, spec: str = "minilm", *, dtype: DtypeName = "auto", device: DeviceName = "auto") -> Trunk:
        """An encoder; arguments and errors as of ``load_trunk``. On a GPU it is the process's own.

        Raises:
            StorageError: There is no room for it.
        """
        place = choose_device(device)
        number_format = choose_dtype(dtype, place)
        if place.type != "cpu":
            return load_trunk(spec, dtype=dtype, device=device)
        name, root = find_model_folder(spec, verify=False)
        source = _Source("encoder", name, root, number_format)

        def make() -> tuple[torch.nn.Module, dict[str, Json]]:
            trunk = load_trunk(spec, dtype=_DTYPE_NAMES[number_format], device="cpu")
            about = {key: getattr(trunk, key) for key in _OF_ENCODERS}
            return trunk.model, about

        mapped = self._mapped(source, make)
        folder = read_layout(root)[0]
        model, tokenizer = _built(mapped, folder, "AutoModel", name, number_format)
        about: dict[str, Any] = mapped.about
        return Trunk(
            name=name,
            model=model,
            tokenizer=tokenizer,
            device=place,
            dtype=number_format,
            **{key: about[key] for key in _OF_ENCODERS},
        )

    def language_model(
        self,
        spec: str = "smollm2",
        *,
        dtype: DtypeName = "auto",
        device: DeviceName = "auto",
        on_message: Callable[[str], None] | None = None,
    ) -> LanguageModel:
        """A causal language model without gradients; arguments and errors as of ``load_language_model``.

        Raises:
            StorageError: There is no room for it.
        """
        loaded = self._generating("causal", spec, dtype, device, on_message)
        return LanguageModel(loaded.model, loaded.tokenizer, loaded.name, loaded.sha256, loaded.max_length)

    def seq2seq_model(
        self,
        spec: str,
        *,
        dtype: DtypeName = "auto",
        device: DeviceName = "auto",
        on_message: Callable[[str], None] | None = None,
    ) -> Seq2SeqModel:
        """An encoder-decoder without gradients; arguments and errors as of ``load_seq2seq_model``.

        Raises:
            StorageError: There is no room for it.
        """
        loaded = self._generating("seq2seq", spec, dtype, device, on_message)
        return Seq2SeqModel(loaded.model, loaded.tokenizer, loaded.name, loaded.sha256, loaded.max_length)

    def _generating(
        self,
        kind: KindName,
        spec: str,
        dtype: DtypeName,
        device: DeviceName,
        on_message: Callable[[str], None] | None,
    ) -> Pretrained:
        place = choose_device(device)
        number_format = choose_dtype(dtype, place)
        if place.type != "cpu":
            loaded = load_pretrained(kind, spec, dtype=dtype, device=device, on_message=on_message)
            loaded.model.requires_grad_(False)
            return loaded
        name, root = find_model_folder(spec, on_message, verify=False)

        def make() -> tuple[torch.nn.Module, dict[str, Json]]:
            loaded = load_pretrained(kind, spec, dtype=_DTYPE_NAMES[number_format], device="cpu")
            return loaded.model, {"sha256": loaded.sha256, "max_length": loaded.max_length}

        mapped = self._mapped(_Source(kind, name, root, number_format), make)
        auto_class = "AutoModelForCausalLM" if kind == "causal" else "AutoModelForSeq2SeqLM"
        model, tokenizer = _built(mapped, root, auto_class, name, number_format)
        about: dict[str, Any] = mapped.about
        return Pretrained(model, tokenizer, name, about["sha256"], about["max_length"])

    def stored(self) -> list[StoredWeights]:
        """All files of weights, by name."""
        models: dict[str, list[str]] = {}
        for _, record in self._records():
            models.setdefault(str(record["sha256"]), []).append(f"{record['name']} ({record['dtype']})")
        return [
            StoredWeights(
                path, path.stem, path.stat().st_size, tuple(sorted(models.get(path.stem, []))), _is_used(path)
            )
            for path in sorted(self.folder.glob(f"*{_SUFFIX}"))
        ]

    def remove_unused(self) -> list[StoredWeights]:
        """Delete the files that no process has mapped, and say which.

        Raises:
            StorageError: One cannot be deleted.
        """
        removed = []
        with storage_errors(self.folder):
            for one in self.stored():
                with one.path.open("rb") as file:
                    if not _locked(file.fileno(), fcntl.LOCK_EX):
                        continue
                    one.path.unlink()
                removed.append(one)
            gone = {one.sha256 for one in removed}
            for path, record in self._records():
                if record["sha256"] in gone:
                    path.unlink()
            for path in self.folder.glob(".making-*"):
                with path.open("rb") as file:
                    if _locked(file.fileno(), fcntl.LOCK_EX):
                        path.unlink()
        return removed

    def verify(self) -> list[StoredWeights]:
        """Read all files, and return those that are not what they were when they were made."""
        return [one for one in self.stored() if not _is_whole(one.path, one.sha256)]

    def _mapped(
        self, source: _Source, make: Callable[[], tuple[torch.nn.Module, dict[str, Json]]]
    ) -> MappedWeights:
        described = source.described()
        key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]
        path = self.folder / f"{key}.json"
        if (found := self._found(path)) is not None:
            return found
        with storage_errors(self.folder, _REMEDY):
            try:
                make_folder(self.folder)
            except (FileNotFoundError, NotADirectoryError, FileExistsError) as error:
                raise StorageError(
                    f"cannot make {self.folder}: {error.strerror}; XDG_CACHE_HOME says where it is"
                ) from error
            with _alone(self.folder / f".making-{key}.lock"):
                # Another process may have made it meanwhile.
                while (found := self._found(path)) is None:
                    model, about = make()
                    self._write(path, {**described, "name": source.name}, all_weights(model), about)
                return found

    def _found(self, path: Path) -> MappedWeights | None:
        """The weights that a record names; None: there are none, or they are damaged."""
        record = _read_record(path)
        if record is None:
            return None
        file = self.folder / f"{record['sha256']}{_SUFFIX}"
        try:
            mapped = map_weights(file, needs_name=True)
            status = file.stat()
        except FileNotFoundError:
            return None
        except StateError as error:
            _logger.warning("%s", error)
            return None
        is_as_made = [status.st_size, status.st_mtime_ns] == record["status"]
        if mapped.sha256 != record["sha256"] or not (is_as_made or mapped.verify()):
            _logger.warning("%s was changed after it was made, and is made anew", file)
            return None
        return mapped

    def _write(
        self,
        path: Path,
        described: dict[str, Json],
        weights: Mapping[str, torch.Tensor],
        about: dict[str, Json],
    ) -> None:
        temporary = path.with_name(f".making-{path.stem}.tmp")
        try:
            with temporary.open("wb") as file:
                sha256 = write_weights(file, weights, about)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o444)
            final = self.folder / f"{sha256}{_SUFFIX}"
            if final.exists() and _is_whole(final, sha256):  # made of another copy of the same model
                temporary.unlink()
            else:
                os.replace(temporary, final)
            fsync_folder(self.folder)
            status = final.stat()
            write_json(path, {**described, "sha256": sha256, "status": [status.st_size, status.st_mtime_ns]})
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def _records(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        for path in sorted(self.folder.glob("*.json")):
            record = _read_record(path)
            if record is not None:
                yield path, record


def _built(
    mapped: MappedWeights, folder: Path, auto_class: str, name: str, dtype: torch.dtype
) -> tuple[Any, Any]:
    """Model and tokenizer."""
    import transformers

    with loading(f"{name} cannot be made of {mapped.path}"):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        attention = attention_of(dtype, torch.device("cpu")) if auto_class == "AutoModel" else {}

        def build() -> Any:
            return tied_structure(getattr(transformers, auto_class), config, dtype=dtype, **attention)

        model = assembled(build, mapped.tensors, name)
        if model.can_generate() and (folder / "generation_config.json").is_file():
            model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
        return model, tokenizer


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        _ = record["sha256"], record["status"], record["name"], record["dtype"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a record is derived: without it the weights are made anew
    return dict(record)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time; the others wait."""
    while True:
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                is_there = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:
                is_there = False
            if not is_there:  # who had it before removed it
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        mapped = map_weights(path)
    except (StateError, FileNotFoundError):
        return False
    return mapped.sha256 == sha256 and mapped.verify()


def _is_used(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return not _locked(file.fileno(), fcntl.LOCK_EX)
    except OSError:
        return False


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
