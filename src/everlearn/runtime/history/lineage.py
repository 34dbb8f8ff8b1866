"""What a run's history tells: its versions, what lies between two of them, and which learned an example."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from everlearn.errors import RunError
from everlearn.journal.history_records import Decision, Version
from everlearn.journal.records import shown_target
from everlearn.journal.rows.entries import entries, entry_of
from everlearn.journal.standing.held import HeldTargets, held_examples
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.types import Json

__all__ = ["Blame", "VersionDiff", "VersionList", "blame_example", "diff_versions", "list_versions"]

_MAX_IDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionList:
    """The versions of a run.

    Attributes:
        versions: All, oldest first.
        serving: The one that is served; None: the newest state is.
        decisions: What was decided, oldest first.
        set_aside: Versions that cannot be served any more: a later rollback or quarantine concerns them.
    """

    versions: Sequence[Version]
    serving: int | None
    decisions: Sequence[Decision]
    set_aside: frozenset[int]

    def status_of(self, version: Version) -> str:
        """What can be done with a version: "can be served", "set aside", or "retired" and why."""
        if version.status != "kept":
            return f"{version.status}: {version.reason}"
        return "set aside" if version.version in self.set_aside else "can be served"

    def to_json(self) -> dict[str, Json]:
        """As printed by ``versions --json``."""
        return {
            "serving": self.serving,
            "versions": [
                {
                    "version": version.version,
                    "parent": version.parent,
                    "step": version.step,
                    "status": "set aside" if version.version in self.set_aside else version.status,
                    "reason": version.reason,
                    "learned": version.num_examples,
                    "examples": version.num_examples,  # the name of before
                    "scores": dict(version.scores),
                    "fingerprint": version.fingerprint,
                    "author": version.author,
                    "time": version.time,
                }
                for version in self.versions
            ],
            "decisions": [asdict(decision) for decision in self.decisions],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDiff:
    """What lies between two versions.

    Attributes:
        first: The one.
        second: The other.
        learned: Examples that only the second holds, by label; texts by domain, where they have one.
        unlearned: Examples that only the first holds, likewise.
        learned_ids: The first few of the former.
        unlearned_ids: The first few of the latter.
        scores: By name: of the first, of the second.
    """

    first: Version
    second: Version
    learned: Mapping[str, int]
    unlearned: Mapping[str, int]
    learned_ids: Sequence[str]
    unlearned_ids: Sequence[str]
    scores: Mapping[str, tuple[Json, Json]]

    def to_json(self) -> dict[str, Json]:
        """As printed by ``diff --json``."""
        return {
            "versions": [self.first.version, self.second.version],
            "scores": {name: list(pair) for name, pair in self.scores.items()},
            "learned": dict(self.learned),
            "unlearned": dict(self.unlearned),
            "learned_ids": list(self.learned_ids),
            "unlearned_ids": list(self.unlearned_ids),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """What a run knows of one example.

    Attributes:
        id: Its id.
        offset: Its place in the journal.
        role: What it is for.
        target: Its present target; None: there is none yet, or none will come.
        arrived: Step and time of its arrival.
        predicted: The label that was predicted then, and its probability.
        learned: Steps that learned it, and whether each was set aside.
        versions: Versions that hold it.
        is_held: Whether the newest state holds it.
    """

    id: str
    offset: int
    role: str
    target: str | None
    arrived: tuple[int, str]
    predicted: tuple[str | None, float] | None
    learned: Sequence[tuple[int, bool]]
    versions: Sequence[int]
    is_held: bool

    def to_json(self) -> dict[str, Json]:
        """As printed by ``blame --json``."""
        return {
            "id": self.id,
            "offset": self.offset,
            "role": self.role,
            "target": self.target,
            "arrived_step": self.arrived[0],
            "arrived_time": self.arrived[1],
            "predicted": None if self.predicted is None else self.predicted[0],
            "confidence": None if self.predicted is None else self.predicted[1],
            "learned_steps": [step for step, aside in self.learned if not aside],
            "set_aside_steps": [step for step, aside in self.learned if aside],
            "versions": list(self.versions),
            "held": self.is_held,
        }


def list_versions(run: Path | RunFolder) -> VersionList:
    """All versions and decisions of a run."""
    with RunFolder.snapshot_of(run) as folder:
        versions = folder.history.versions()
        return VersionList(
            versions=versions,
            serving=folder.serving,
            decisions=folder.history.decisions(),
            set_aside=frozenset(
                version.version
                for version in versions
                if not folder.history.is_current(version.step, version.revision)
            ),
        )


def diff_versions(run: Path, first: int, second: int) -> VersionDiff:
    """Scores of two versions side by side, and the examples that only one of them holds.

    Raises:
        RunError: There is no such version.
    """
    with RunFolder.snapshot_of(run) as folder:
        former, latter = _version(folder, first), _version(folder, second)
        in_first = HeldTargets(folder.journal, former.step, former.revision)
        in_second = HeldTargets(folder.journal, latter.step, latter.revision)
        learned, unlearned = _Told(folder), _Told(folder)
        for entry in entries(folder.journal):
            asked = (entry.offset, entry.role, entry.target)
            before, after = in_first(*asked), in_second(*asked)
            if before != after:
                learned.note(entry.id, after, entry.domain)
                unlearned.note(entry.id, before, entry.domain)
        scores = {
            name: (former.scores.get(name), latter.scores.get(name))
            for name in sorted({*former.scores, *latter.scores})
        }
        return VersionDiff(
            first=former,
            second=latter,
            learned=dict(learned.counts.most_common()),
            unlearned=dict(unlearned.counts.most_common()),
            learned_ids=learned.ids,
            unlearned_ids=unlearned.ids,
            scores=scores,
        )


def blame_example(run: Path, id_: str) -> Blame:
    """Where an example came from and which versions learned it.

    Raises:
        RunError: The run does not know the id, or it was deleted.
    """
    with RunFolder.snapshot_of(run) as folder:
        journal = folder.journal
        entry = entry_of(journal, id_)
        if entry is None:
            deleted = journal.deleted_ids.among([id_])
            detail = f"it was deleted on {deleted[id_][:10]}" if deleted else "no example has this id"
            raise RunError(f"{run} does not know {id_!r}: {detail}")
        offset, role, target = entry.offset, entry.role, entry.target
        arrival = next(found for _, found in journal.examples.arrivals(offset, offset))
        said = arrival.prediction
        learned = journal.standings.learned_in(offset, role, target)
        holding = [
            version.version
            for version in folder.history.versions()
            if any(True for _ in held_examples(journal, version.step, [offset], revision=version.revision))
        ]
        return Blame(
            id=id_,
            offset=offset,
            role=role,
            target=shown_target(journal.standings.present_target(offset, target)),
            arrived=(entry.step, journal.step(entry.step).time),
            predicted=None if said is None or not folder.task.predicts else (said.label, said.confidence),
            learned=learned,
            versions=holding,
            is_held=journal.standings.of(offset, role, target).is_held,
        )


class _Told:
    # How many examples there are of each label (of each domain, where targets are texts); the first ids.

    def __init__(self, folder: RunFolder) -> None:
        self.counts: Counter[str] = Counter()
        self.ids: list[str] = []
        self._by_label = folder.task.counts_by_label

    def note(self, id_: str, label: str | None, domain: str | None) -> None:
        if label is None:
            return
        self.counts[label if self._by_label else domain or "without domain"] += 1
        if len(self.ids) < _MAX_IDS:
            self.ids.append(id_)


def _version(folder: RunFolder, number: int) -> Version:
    version = folder.history.version(number)
    if version is None:
        known = ", ".join(str(listed.version) for listed in folder.history.versions()) or "none"
        raise RunError(f"{folder.path} has no version {number}; it has: {known}")
    return version
