"""What a tuning leaves on the disk (``RUN/consolidation/``), so that it can go on after an interruption.

```
tuning.json           what is tuned on what, and how far it is
tuning.safetensors    everything that the next epoch depends on
adapter/              the best epoch's adapter in peft's format, once it is finished
```
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError

from everlearn.errors import RunError
from everlearn.journal.durable_files import fsync_folder, make_folder, replacing, storage_errors, write_json
from everlearn.journal.lock import LOCK_NAME, acquire_lock
from everlearn.journal.state_files import read_state_file, write_state_file
from everlearn.models.storage.adapters import Adapter, write_adapter
from everlearn.types import State

__all__ = ["TuningRecord", "TuningStore"]

_RECORD = "tuning.json"
_STATE = "tuning.safetensors"
_ADAPTER = "adapter"
_METADATA_KEY = "everlearn.tuning"
_FORMAT_VERSION = 1


class TuningRecord(BaseModel):
    """What is tuned on what.

    Attributes:
        config: Of the tuning.
        from_scratch: Whether it starts from the trunk as it was before any consolidation.
        generation: Of the codes that the run had.
        step: After which step.
        revision: The newest change of the run's history then.
        labels: All labels, sorted.
        exam_ids: The learner's sample, smallest hash first; never tuned on.
        num_tuned: Examples that are tuned on.
        last_offset: The last offset after that step.
        finished: Whether all epochs are done.
        best_epoch: The epoch that was kept; 0: no epoch was better than the start.
        history: A report for each epoch, epoch 0 first.
    """

    model_config = ConfigDict(extra="forbid")

    format_version: int = _FORMAT_VERSION
    config: dict[str, Any]
    from_scratch: bool
    generation: int
    step: int
    revision: int
    labels: list[str]
    exam_ids: list[str]
    num_tuned: int
    last_offset: int
    finished: bool = False
    best_epoch: int = 0
    history: list[dict[str, Any]] = []

    def is_same_task(self, config: Mapping[str, Any], from_scratch: bool, generation: int) -> bool:
        """Whether it is a tuning of these settings and codes."""
        mine = (self.format_version, self.config, self.from_scratch, self.generation)
        return mine == (_FORMAT_VERSION, dict(config), from_scratch, generation)


class TuningStore:
    """The folder of a tuning, which is made when something is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def adapter_folder(self) -> Path:
        """Where a finished tuning leaves its adapter."""
        return self._folder / _ADAPTER

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other tunings away for the time of the block.

        Raises:
            RunError: Another process is tuning.
            StorageError: The folder cannot be written; epochs saved before are whole.
        """
        with storage_errors(self._folder, "Epochs that were saved are intact; the same command goes on."):
            make_folder(self._folder)
            lock = acquire_lock(self._folder)
            try:
                yield
            finally:
                lock.close()
                if self._folder.is_dir() and {entry.name for entry in self._folder.iterdir()} <= {LOCK_NAME}:
                    self.clear()  # nothing was begun

    def read(self) -> TuningRecord | None:
        """The record; None where there is none that can be used."""
        try:
            text = (self._folder / _RECORD).read_text(encoding="utf-8")
            return TuningRecord.model_validate(json.loads(text))
        except (OSError, ValueError, ValidationError):
            return None  # a tuning is made anew at no loss but time

    def save(self, record: TuningRecord, state: State) -> None:
        """Save a state after an epoch."""
        data = {"learner": dict(state.data), "record": record.model_dump(mode="json")}
        with replacing(self._folder / _STATE) as temporary:
            write_state_file(temporary, _METADATA_KEY, data, state.tensors)
        write_json(self._folder / _RECORD, record.model_dump(mode="json"), indent=1)

    def load(self) -> tuple[TuningRecord, State] | None:
        """The record and the state that were saved together; None where there is none that can be used."""
        try:
            data, tensors = read_state_file(self._folder / _STATE, _METADATA_KEY)
            return TuningRecord.model_validate(data["record"]), State(tensors, data["learner"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, ValidationError):
            return None

    def finish(self, record: TuningRecord, adapter: Adapter | None, base_model: str) -> None:
        """Leave the adapter (if any epoch was better than the start), and say that the tuning is done."""
        if adapter is not None:
            temporary = self._folder / f".{_ADAPTER}.tmp"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            write_adapter(temporary, adapter, base_model)
            shutil.rmtree(self.adapter_folder, ignore_errors=True)
            temporary.rename(self.adapter_folder)
            fsync_folder(self._folder)
        write_json(self._folder / _RECORD, record.model_dump(mode="json"), indent=1)
        (self._folder / _STATE).unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def clear_if_idle(self) -> None:
        """Forget everything, unless another process is tuning, which will find that history changed."""
        if self._folder.is_dir():
            with suppress(RunError), self.locked():
                self.clear()
