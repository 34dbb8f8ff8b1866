"""A run folder: the journal, which is the truth, and what is derived from it.

```
run.json                  what the run is: settings and learner
journal.sqlite            examples, codes, steps, versions, decisions (see everlearn.journal)
checkpoints/*.safetensors states after some steps, so that a start need not fold from the beginning
certificates/*.json       of deletions; they name nobody
trunks/generation-*/      adapters that texts are read with, in peft's format; 0 was given, others were tuned
consolidation/            a tuning that goes on
published/                what the run predicts by, for other processes to map
rejected.jsonl metrics.parquet confusion.json matrix.json report.html     for readers
```
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Self

from everlearn.errors import RunError, StateError, StorageError
from everlearn.journal.checkpoints import Checkpoint, CheckpointStore
from everlearn.journal.durable_files import make_folder, replacing, storage_errors, write_json
from everlearn.journal.history_records import CheckpointRecord, Decision
from everlearn.journal.journal import Journal
from everlearn.journal.lock import LOCK_NAME, acquire_lock
from everlearn.journal.opening import log_note, open_journal
from everlearn.journal.rows.rejections import Extent
from everlearn.journal.write_ahead_log import inspect_log
from everlearn.learning.run_learner import RunLearner
from everlearn.models.encoder.pool import ModelPool
from everlearn.models.storage.adapters import read_adapter
from everlearn.runtime.folder.kept_adapters import keep_adapter
from everlearn.runtime.folder.rejected_file import append_rejections
from everlearn.runtime.folder.run_record import RunRecord, SourceProgress, read_record
from everlearn.settings import RunConfig
from everlearn.tasks.origin import Origin
from everlearn.tasks.records import LearnerRecord, RunStatus
from everlearn.tasks.table import task_of
from everlearn.tasks.task import Task
from everlearn.types import Example, Json, State

__all__ = [
    "CERTIFICATES",
    "CHECKPOINTS",
    "CONSOLIDATION",
    "GENERAL_FILE",
    "JOURNAL",
    "METRICS",
    "PUBLISHED",
    "REJECTED",
    "TRUNKS",
    "RunFolder",
    "is_run_folder",
]

_RECORD = "run.json"
JOURNAL = "journal.sqlite"
CHECKPOINTS = "checkpoints"
CERTIFICATES = "certificates"
TRUNKS = "trunks"
CONSOLIDATION = "consolidation"
PUBLISHED = "published"
METRICS = "metrics.parquet"
REJECTED = "rejected.jsonl"
GENERAL_FILE = "general.json"
"""What the model lost on other text before it learned."""
_OWN_FILES = frozenset(
    {LOCK_NAME, JOURNAL, f"{JOURNAL}-wal", f"{JOURNAL}-shm", REJECTED, METRICS, "metrics.damaged.parquet"}
    | {"confusion.json", "matrix.json", "report.html", GENERAL_FILE}
)
_SERVING = "serving"
EXPECTED_VERSIONS = "versions_to_fold_again"
"""Key in the journal's ``meta``: versions that a deletion retired and the fold brings back."""
TRIES = 3
"""Of a reader whose files a writer replaces."""


def is_run_folder(path: Path) -> bool:
    """Whether there is a run's record in the folder."""
    return (path / _RECORD).is_file()


class RunFolder:
    """A run folder, opened for reading or (under a lock) for writing.

    Use :meth:`create`, :meth:`open_to_write` or :meth:`open_to_read`, and close it, or use it as a
    context manager.

    Attributes:
        path: The folder.
        record: The content of ``run.json``.
        journal: The journal.
        history: Its checkpoints, versions and decisions.
        generations: Its codes by tuned trunks.
        checkpoints: The saved states.
        notes: What was found damaged and skipped so far, in sentences.
        models: Gives encoders; those that were loaded stay.
    """

    def __init__(self, path: Path, record: RunRecord, journal: Journal, lock: IO[str] | None) -> None:
        self.path = path
        self.record = record
        self._config: RunConfig | None = None  # read from the record when it is asked for
        self.journal = journal
        self.history = journal.history
        self.generations = journal.generations
        self.checkpoints = CheckpointStore(path / CHECKPOINTS, journal)
        self.notes: list[str] = []
        self.models = ModelPool()
        self._lock = lock
        self._written_rejections: Extent | None = None

    @classmethod
    def create(
        cls, path: Path, config: RunConfig, learner: LearnerRecord, adapter: Path | None = None
    ) -> RunFolder:
        """Make a new run folder.

        Args:
            path: The folder.
            config: Settings.
            learner: What the learner is built from again.
            adapter: Folder that an adapter is copied from; None: from where the settings say, if they do.

        Raises:
            RunError: The folder exists and holds something else, or is in use.
            ModelError: There is no adapter where one is said to be.
            StorageError: It cannot be made.
        """
        with storage_errors(path, "Nothing was learned yet."):
            try:
                make_folder(path)
            except FileExistsError:
                raise RunError(f"{path} exists and is not a folder; choose another with --out") from None
            except (FileNotFoundError, NotADirectoryError) as error:
                raise StorageError(f"cannot make the folder {path}: {error.strerror}") from error
        if is_run_folder(path):
            raise RunError(f"{path} already holds a run; choose another folder with --out")
        # A lock without a record is what a crash leaves before the record is written.
        foreign = [] if (path / LOCK_NAME).exists() else sorted(entry.name for entry in path.iterdir())
        if foreign:
            raise RunError(
                f"{path} is not empty and not a run folder (it holds {foreign[0]}); choose another with --out"
            )
        record = RunRecord(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            config=config.to_mapping(),
            learner=learner,
        )
        with storage_errors(path, "Nothing was learned yet."), ExitStack() as opened:
            lock = opened.enter_context(acquire_lock(path))
            _remove_own(path)
            make_folder(path / CHECKPOINTS)
            if config.model.adapter is not None:
                keep_adapter(adapter or Path(config.model.adapter).expanduser(), _adapter_folder(path, 0))
            journal = Journal.create(path / JOURNAL)
            opened.callback(journal.close)
            write_json(path / _RECORD, record.model_dump(mode="json"), indent=1)
            opened.pop_all()  # from here on they are the folder's to close
        return cls(path, record, journal, lock)

    @classmethod
    def open_to_write(cls, path: Path) -> RunFolder:
        """Open an existing run under its lock and remove what a crash left over.

        Raises:
            RunError: Not a run folder, of another format version, or in use.
            StateError: ``run.json`` or the journal is damaged.
        """
        read_record(path / _RECORD)
        with storage_errors(path), ExitStack() as opened:
            lock = opened.enter_context(acquire_lock(path))
            record = read_record(path / _RECORD)
            make_folder(path / CHECKPOINTS)
            found = open_journal(path / JOURNAL)
            opened.callback(found.journal.close)
            folder = cls(path, record, found.journal, lock)
            folder.notes += found.notes
            folder.withdraw_published()
            folder.remove_leftovers()
            opened.pop_all()
        return folder

    @classmethod
    def open_to_read(cls, path: Path) -> RunFolder:
        """Open an existing run without a lock. Raises as :meth:`open_to_write`, but for the lock."""
        record = read_record(path / _RECORD)
        folder = cls(path, record, Journal.open_to_read(path / JOURNAL), None)
        log = inspect_log(path / JOURNAL)
        if log.damage:
            folder.notes.append(log_note(path / JOURNAL, log))
        return folder

    @cached_property
    def task(self) -> Task:
        """What the run learns, for life."""
        return task_of(self.config)

    @property
    def config(self) -> RunConfig:
        """The run's settings."""
        if self._config is None:
            self._config = RunConfig.from_mapping(self.record.config, place=str(self.path / _RECORD))
        return self._config

    def write_config(self, config: RunConfig) -> None:
        """Keep other settings, if they are others."""
        mapping = config.to_mapping()
        if mapping != self.record.config:
            record = self.record.model_copy(update={"config": mapping})
            with self.saving():
                write_json(self.path / _RECORD, record.model_dump(mode="json"), indent=1)
            self.record, self._config = record, None

    def learner_record(self, generation: int | None = None) -> LearnerRecord:
        """What it takes to build the learner for codes of a generation; None: of the one that counts."""
        wanted = self.journal.generation if generation is None else generation
        if not wanted:
            return self.record.learner
        found = next(adopted for adopted in self.generations.all() if adopted.generation == wanted)
        return self.record.learner.model_copy(
            update={
                "coder_fingerprint": found.coder_fingerprint,
                "coder_config": dict(found.coder_config),
                "dense_size": found.dense_size,
            }
        )

    def adapter_folder(self, generation: int | None = None) -> Path | None:
        """The adapter that makes codes of a generation; None: the trunk makes them as it came."""
        wanted = self.journal.generation if generation is None else generation
        if not wanted and self.config.model.adapter is None:
            return None
        return _adapter_folder(self.path, wanted)

    def fresh_learner(self, generation: int | None = None, config: RunConfig | None = None) -> RunLearner:
        """The run's learner without its state, for codes of a generation. Raises as ``Task.learner``.

        None stands for the generation that counts, and for the run's own settings.
        """
        config = config or self.config
        return task_of(config).learner(config, self.learner_record(generation), self.origin(generation))

    def learner_to_go_on(self, config: RunConfig) -> RunLearner:
        """The run's learner without its state, for settings that it will keep.

        Raises:
            RunError: Another model or adapter is named than the run's, and it is not that one at another
                place.
            ModelError: It cannot be found or loaded.
        """
        learner = self.fresh_learner(config=config)
        if config.model.adapter not in (None, self.config.model.adapter):
            self._check_adapter(Path(config.model.adapter))
        if config.model_name != self.config.model_name:
            # It is loaded when a text is read, perhaps long after its name took the place of the run's.
            learner.reading_problem(Example(id="text", text="text"))
        return learner

    def _check_adapter(self, given: Path) -> None:
        kept, asked = self.adapter_folder(0), read_adapter(given)
        if kept is None or read_adapter(kept).sha256() != asked.sha256():
            how = "without an adapter" if kept is None else "with another adapter"
            raise RunError(
                f"{self.path} was made {how}, and {given} was given. Leave it out to go on, or learn into a "
                "new folder."
            )

    def origin(self, generation: int | None = None) -> Origin:
        """What learners for codes of a generation are built with; None: of the one that counts."""
        return Origin(owner=str(self.path), adapter=self.adapter_folder(generation), models=self.models)

    def sources(self) -> list[SourceProgress]:
        """How far the run is in each of its streams, in the order of their first use."""
        return [SourceProgress.model_validate(progress) for progress in self.journal.progress().values()]

    def decide(
        self, kind: str, verdict: str, reason: str, numbers: Mapping[str, Json], first_step: int | None = None
    ) -> Decision:
        """Record a decision on the steps from one to the newest; None: on the newest alone."""
        step = self.journal.last_step
        return self.history.decide(
            step=step,
            first_step=step if first_step is None else first_step,
            kind=kind,
            verdict=verdict,
            reason=reason,
            numbers=numbers,
        )

    @property
    def serving(self) -> int | None:
        """The version that is served; None: the newest state is."""
        value = self.journal.meta(_SERVING)
        return int(value) if value else None

    def serve(self, version: int | None) -> None:
        """Serve a version from now on; None: always the newest state."""
        self.journal.set_meta(_SERVING, "" if version is None else str(version))

    @classmethod
    @contextmanager
    def snapshot_of(cls, run: Path | RunFolder) -> Iterator[RunFolder]:
        """A run, which may be open, with all that is read of its journal in the block of one moment."""
        if isinstance(run, RunFolder):
            yield run  # who has opened it sees to that
            return
        with cls.open_to_read(run) as folder, folder.snapshot():
            yield folder

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Within the block, which should be short, all that is read of the journal is of one moment."""
        with self.journal.snapshot():
            if self._lock is None:
                self.journal.look_again()
            yield

    def newest_checkpoint(self) -> Checkpoint:
        """The newest usable state.

        Where the folder is open for reading, the journal is then read at least up to the state's step.

        Raises:
            RunError: Nothing was saved yet.
            StateError: No saved state can be used; the message names what is wrong with each.
        """
        for attempt in range(TRIES):
            skipped: list[str] = []
            with self.snapshot():
                found = self.checkpoints.newest(skipped.append)
            if self._lock is not None or not skipped or attempt == TRIES - 1:
                break
            # A writer may have replaced the file between record and file.
        if found is not None:
            self.notes += [note for reason in skipped if (note := f"Not used: {reason}.") not in self.notes]
            return found
        if skipped:
            raise StateError(
                f"no saved state of {self.path} can be used: {'; '.join(skipped)}. `everlearn learn` with "
                "its stream folds it again from the journal"
            )
        if self.journal.last_step:
            raise RunError(
                f"nothing is saved in {self.path} yet: another everlearn has it and has not come to its "
                "first save (see --checkpoint-seconds), or crashed before it. If it is served, ask the "
                "service; if nobody has it, `everlearn learn` with the same stream goes on"
            )
        raise RunError(f"{self.path} holds nothing learned yet")

    def save(self, learner: State, status: RunStatus, *, keep_too: Sequence[str] = ()) -> CheckpointRecord:
        """Write a checkpoint after the newest step, and delete those that no rule keeps.

        Args:
            learner: The learner's state.
            status: What else the run needs to go on.
            keep_too: Files that are still needed.

        Raises:
            StorageError: Writing failed; everything journaled is intact.
        """
        assert self._lock is not None, "the folder is open for reading only"
        with self.saving():
            record = self.checkpoints.save(
                learner, status.model_dump(mode="json"), step=self.journal.last_step
            )
        self.prune(keep_too)
        return record

    def prune(self, keep_too: Sequence[str] = ()) -> None:
        """Delete checkpoints that no rule keeps; ``keep_too`` are still needed."""
        settings = self.config.run
        with self.saving():
            self.checkpoints.prune(
                keep=settings.keep_checkpoints,
                keep_hourly=settings.keep_hourly,
                always=[*keep_too, *self._version_files()],
            )

    def write_rejections(self) -> None:
        """Write ``rejected.jsonl`` for readers, if there is anything to tell that it does not tell yet."""
        path = self.path / REJECTED
        rejections, before = self.journal.rejections, self._written_rejections
        extent = rejections.extent()
        self._written_rejections = None
        with self.saving():
            if not extent.count:
                path.unlink(missing_ok=True)
            elif before is None or not path.is_file() or not rejections.has_grown(before, extent):
                with replacing(path) as temporary:
                    append_rejections(temporary, rejections.all())
            else:  # the whole of it at each checkpoint would be work that grows with the stream
                append_rejections(path, rejections.all(after=before.last_number))
        self._written_rejections = extent

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Turn failures to write into StorageErrors that say what is safe."""
        try:
            with storage_errors(self.path):
                yield
        except StorageError as error:
            message = str(error).rstrip(". ")
            raise StorageError(
                f"{message}. What was journaled before is intact; put that right, then run the same "
                "command again."
            ) from error

    def remove(self) -> None:
        """Delete a new run folder that holds nothing; nobody else gets its lock before it is gone."""
        self.journal.close()
        _remove_own(self.path)
        with suppress(OSError):
            (self.path / _RECORD).unlink(missing_ok=True)
            (self.path / LOCK_NAME).unlink(missing_ok=True)
            self.path.rmdir()
        self.close()

    def remove_leftovers(self) -> None:
        """Remove what a crash left over: files that nothing names, states that a deletion has outdated."""
        self.checkpoints.remove_leftovers()
        self.remove_outdated()
        known = {_adapter_folder(self.path, adopted.generation) for adopted in self.generations.all()}
        known.add(_adapter_folder(self.path, 0))
        with suppress(OSError):
            for entry in self.path.glob(f"{TRUNKS}/*"):
                if entry not in known:
                    shutil.rmtree(entry, ignore_errors=True)
            for entry in self.path.glob(".*.tmp*"):
                entry.unlink()

    def remove_outdated(self) -> None:
        """Delete states from before a deletion or rollback that concerns them, unless a version is one."""
        with self.saving():
            self.checkpoints.remove_outdated(always=self._version_files())

    def withdraw_published(self) -> None:
        """Let nobody take up any more what the run predicts by; who has it goes on with it."""
        with self.saving():
            if (self.path / PUBLISHED).exists():
                shutil.rmtree(self.path / PUBLISHED)

    def _version_files(self) -> list[str]:
        return [version.file for version in self.history.versions() if version.file is not None]

    def close(self) -> None:
        """Close the journal and release the lock."""
        self.journal.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def _adapter_folder(run: Path, generation: int) -> Path:
    return run / TRUNKS / f"generation-{generation:04d}"


def _remove_own(path: Path) -> None:
    for name in (CHECKPOINTS, TRUNKS, CONSOLIDATION, PUBLISHED):
        shutil.rmtree(path / name, ignore_errors=True)
    for entry in path.iterdir():
        temporary = entry.name.startswith(".") and entry.name.endswith(".tmp")
        if (entry.name in _OWN_FILES or temporary) and entry.name != LOCK_NAME:
            with suppress(OSError):
                entry.unlink()
