"""Checkpoints: states of a run in one file each, whole or not there, verified when they are read.

A checkpoint is a safetensors file that also holds the rest of the state as JSON. It is written under
a temporary name, brought to the disk and renamed; then the journal records it with its SHA-256. What the
journal does not record does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from everlearn.errors import StateError
from everlearn.journal.durable_files import fsync_folder, replacing, sha256_of
from everlearn.journal.history_records import CheckpointRecord
from everlearn.journal.journal import Journal
from everlearn.journal.state_files import read_state_file, write_state_file
from everlearn.types import Json, State

__all__ = ["Checkpoint", "CheckpointStore"]

FORMAT_VERSION = 1
_METADATA_KEY = "everlearn.checkpoint"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        learner: The learner's state.
        run: What else the run needs to go on (scores, counts, times); JSON.
        step: The last step in it; 0 for the beginning.
        file: Its name; None for the beginning.
        generation: Of the codes that it is a fold of.
    """

    learner: State
    run: Mapping[str, Json]
    step: int
    file: str | None = None
    generation: int = 0


class CheckpointStore:
    """The checkpoints of a run.

    Args:
        folder: Where the files are.
        journal: Records them.
    """

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._folder = folder
        self._journal = journal
        self._history = journal.history

    def save(
        self, learner: State, run: Mapping[str, Json], *, step: int, generation: int | None = None
    ) -> CheckpointRecord:
        """Save the state after a step. Arguments and errors as of ``write``."""
        record = self.write(learner, run, step=step, generation=generation)
        self._history.add_checkpoint(record)
        return record

    def write(
        self,
        learner: State,
        run: Mapping[str, Json],
        *,
        step: int,
        revision: int | None = None,
        generation: int | None = None,
        is_to_come: bool = False,
    ) -> CheckpointRecord:
        """Write the file of a checkpoint, which does not count before ``History.add_checkpoint`` records it.

        Args:
            learner: The learner's state.
            run: What else the run needs to go on; empty for the state of a version alone, of which no figures
                are known.
            step: The step.
            revision: The last revision that it takes into account; None: the newest.
            generation: Of the codes that it is a fold of; None: the one that counts.
            is_to_come: Whether the step is not journaled yet; the record lacks its chain then.

        Raises:
            OSError: Writing failed (also SafetensorError); all older checkpoints are whole.
        """
        revision = self._history.last_revision if revision is None else revision
        chain = b"" if is_to_come else self._journal.chain_of(step)
        assert chain is not None, "only steps that are journaled have states"
        generation = self._journal.generation if generation is None else generation
        name = self._name_for(step, revision)
        data = {
            "format_version": FORMAT_VERSION,
            "step": step,
            "revision": revision,
            "learner": dict(learner.data),
            "run": dict(run),
        }
        path = self._folder / name
        with replacing(path) as temporary:
            write_state_file(temporary, _METADATA_KEY, data, learner.tensors)
            digest, size = sha256_of(temporary), temporary.stat().st_size
        return CheckpointRecord(
            file=name,
            step=step,
            revision=revision,
            chain=chain,
            sha256=digest,
            num_bytes=size,
            time=self._journal.database.now(),
            generation=generation,
        )

    def newest(self, skipped: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint that is whole and a fold of the journal; None: there is none.

        Of several of one step it is one that keeps figures beside the state. One without is not passed
        over for an older one: what was learned between them may not be there to be learned again.

        Args:
            skipped: Is told of each newer one that cannot be used, and why.
        """
        bare: Checkpoint | None = None
        for record in self._history.checkpoints():
            if bare is not None and record.step < bare.step:
                break
            reason = self._unfit(record)
            if reason is None:
                try:
                    found = self.load(record.file)
                except StateError as error:
                    reason = str(error)
                else:
                    if found.run:
                        return found
                    bare = bare or found
                    continue
            if bare is None:
                skipped(reason)
        return bare

    def newest_before(self, step: int) -> Checkpoint | None:
        """The newest usable checkpoint of an earlier step; None: there is none."""
        for record in self._history.checkpoints():
            if record.step < step and self._unfit(record) is None:
                with suppress(StateError):
                    return self.load(record.file)
        return None

    def newest_step(self) -> int:
        """The step of the newest state that is a fold of the journal, by its record; 0: there is none."""
        return next((saved.step for saved in self._history.checkpoints() if self._unfit(saved) is None), 0)

    def generation_of(self, file: str) -> int:
        """Of the codes that a recorded checkpoint is a fold of. Raises StateError where none is recorded."""
        return self._recorded(file).generation

    def _recorded(self, file: str) -> CheckpointRecord:
        record = next((known for known in self._history.checkpoints() if known.file == file), None)
        if record is None:
            raise StateError(f"the journal knows of no checkpoint {file}")
        return record

    def load(self, file: str) -> Checkpoint:
        """Load a recorded checkpoint.

        Raises:
            StateError: It is not recorded, missing, damaged, or of a newer format; the message names it.
        """
        path = self._folder / file
        record = self._recorded(file)
        if not path.is_file():
            raise StateError(f"{path} is missing")
        if path.stat().st_size != record.num_bytes or sha256_of(path) != record.sha256:
            raise StateError(
                f"{path} is damaged: its content ({path.stat().st_size:,} bytes) does not match the "
                "SHA-256 in the journal"
            )
        try:
            data, tensors = read_state_file(path, _METADATA_KEY)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise StateError(f"{path} cannot be read: {error}") from None
        if data["format_version"] > FORMAT_VERSION:
            raise StateError(
                f"{path} is of the newer format version {data['format_version']}; use the everlearn that "
                "wrote it"
            )
        return Checkpoint(State(tensors, data["learner"]), data["run"], data["step"], file, record.generation)

    def prune(self, *, keep: int, keep_hourly: int, always: Sequence[str]) -> None:
        """Delete checkpoints that no rule keeps.

        Args:
            keep: So many of the newest stay.
            keep_hourly: Beyond these, the newest of each of so many past hours stays.
            always: Files that stay all the same (those of versions).
        """
        records = [record for record in self._history.checkpoints() if self._unfit(record) is None]
        kept = {record.file for record in records[:keep]} | set(always)
        hours: set[str] = set()
        for record in records:
            hour = record.time[:13]
            if hour not in hours and len(hours) < keep_hourly:
                kept.add(record.file)
                hours.add(hour)
        for checkpoint in self._history.checkpoints():
            if checkpoint.file not in kept:
                self.delete(checkpoint.file)

    def remove_outdated(self, *, always: Sequence[str]) -> None:
        """Delete checkpoints from before a change of history that concerns them, or of other codes.

        Args:
            always: Files that stay all the same (those of versions).
        """
        for checkpoint in self._history.checkpoints():
            if checkpoint.file not in always and not self._is_current(checkpoint):
                self.delete(checkpoint.file)

    def delete(self, file: str) -> None:
        """Delete a checkpoint: struck off first, so that a crash leaves a file that does not count."""
        self._history.remove_checkpoint(file)
        (self._folder / file).unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Delete files that are not recorded: a crash came between file and record."""
        recorded = {checkpoint.file for checkpoint in self._history.checkpoints()}
        with suppress(OSError):
            for entry in self._folder.iterdir():
                if entry.name not in recorded:
                    entry.unlink()
            fsync_folder(self._folder)

    def _unfit(self, record: CheckpointRecord) -> str | None:
        path = self._folder / record.file
        chain = self._journal.chain_of(record.step)
        if chain is None:
            return (
                f"{path} holds {record.step:,} steps, the journal only {self._journal.last_step:,}: the "
                "journal lost its end"
            )
        if chain != record.chain:
            return f"{path} is of another history than the journal"
        if not self._history.is_current(record.step, record.revision):
            return f"{path} is older than a deletion or rollback that concerns it"
        if record.generation != self._journal.generation:
            return f"{path} is a fold of other codes: a consolidation, or a rollback behind one, came since"
        return None

    def _is_current(self, record: CheckpointRecord) -> bool:
        return record.generation == self._journal.generation and self._history.is_current(
            record.step, record.revision
        )

    def _name_for(self, step: int, revision: int) -> str:
        stem = f"step-{step:08d}" + (f"-r{revision}" if revision else "")
        taken = {checkpoint.file for checkpoint in self._history.checkpoints()}
        name, number = f"{stem}.safetensors", 2
        while name in taken or (self._folder / name).exists():
            name, number = f"{stem}-{number}.safetensors", number + 1
        return name
