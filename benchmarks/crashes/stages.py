"""A run in stages: streams with deletions and a rollback between them, every command killed again and again.

Corrections and late targets come in the streams, also for examples of an earlier one, and for some that were
deleted between.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.codes_files import read_codes, write_codes
from benchmarks.crashes.campaign import CampaignError, CampaignResult
from benchmarks.crashes.nursery import Ended, Nursery
from benchmarks.crashes.outcome import differences, outcome_of
from benchmarks.crashes.probe import Arming
from benchmarks.crashes.streams import CrashStream
from everlearn.journal.journal import Journal
from everlearn.runtime.folder.run_folder import JOURNAL
from everlearn.runtime.history.lineage import list_versions
from everlearn.stream import CodesSource

__all__ = ["mixed_campaign"]

_PARTS = 3
_FORGOTTEN = 6
_SHARE_OF_LEARNING = 0.6


@dataclass(frozen=True, slots=True)
class _Stage:
    """One command of the run.

    Attributes:
        phase: Its name in the table; None: as its functions say.
        arguments: What follows ``everlearn``, for a run folder.
        is_done: Whether it has been carried out and must not be run again; None: it may always be.
    """

    phase: str | None
    arguments: Callable[[Path], Sequence[str]]
    is_done: Callable[[Path], bool] | None = None


@dataclass(frozen=True, slots=True)
class _Pace:
    moments: int
    seconds: float


def mixed_campaign(
    nursery: Nursery,
    folder: Path,
    stream: CrashStream,
    settings: Sequence[str],
    *,
    num_kills: int,
    seed: int,
    show: bool = False,
) -> CampaignResult:
    """Carry the stages out undisturbed, then with kills, and compare.

    Args:
        nursery: Makes the processes.
        folder: For both runs.
        stream: The stream, of codes; each sitting learns a part of it.
        settings: Options of ``everlearn learn``.
        num_kills: So often a process is killed at most: what has been carried out is not killed any more.
        seed: Of everything random, but for what the clock decides.
        show: Whether each kill is printed.

    Raises:
        CampaignError: A command ended in an error of its own.
    """
    chance = random.Random(seed)
    result = CampaignResult()
    stages = _stages(_parts(stream, folder), settings, chance)
    calm, run = folder / "undisturbed", folder / "run"
    began = time.perf_counter()
    paces = []
    for stage in stages:
        ended = _carry_out(nursery, stage, calm, None)
        _use_known_key(calm)
        paces.append(_Pace(ended.board["moments"], (ended.ended_ns - ended.started_ns) / 1e9))
    result.undisturbed_seconds = time.perf_counter() - began
    undisturbed = outcome_of(calm)
    began = time.perf_counter()
    for stage, pace, count in zip(stages, paces, _shares(stages, num_kills), strict=True):
        for _ in range(count):
            by = chance.choice(("moment", "clock"))
            if by == "moment":
                arming = Arming(anchor="start", moments=1 + int(chance.random() * pace.moments))
            else:
                arming = Arming(anchor="start", seconds=chance.uniform(0.0, pace.seconds))
            ended = _carry_out(nursery, stage, run, arming)
            result.num_sittings += 1
            if ended.was_killed:
                result.kills[ended.phase, by] += 1
                if show:
                    print(f"  {by:6} {ended.phase:22} step {ended.board['step']:,}", flush=True)
            if stage.is_done is not None and stage.is_done(run):
                break
        if stage.is_done is None or not stage.is_done(run):
            _carry_out(nursery, stage, run, None)
            result.num_sittings += 1
        _use_known_key(run)
    result.seconds = time.perf_counter() - began
    result.num_steps = outcome_of(run).num_steps
    result.differences = differences(run, undisturbed, None)
    return result


def _carry_out(nursery: Nursery, stage: _Stage, run: Path, arming: Arming | None) -> Ended:
    ended = nursery.run(stage.arguments(run), arming, stage.phase)
    if ended.code != 0 and not ended.was_killed:
        log = nursery.log.read_text(encoding="utf-8", errors="replace").strip()
        raise CampaignError(f"a command on {run} ended with {ended.code}, in {ended.phase}:\n{log}")
    return ended


def _stages(parts: Sequence[Path], settings: Sequence[str], chance: random.Random) -> list[_Stage]:
    ids = [sorted({one.id for one in read_codes(part)}) for part in parts]

    def learning(part: Path) -> _Stage:
        options = (*settings, "--checkpoint-seconds", "0.2")
        return _Stage(None, lambda run: ["learn", str(part), "--out", str(run), *options])

    def deletion(number: int, among: Sequence[str]) -> _Stage:
        gone = [word for id_ in chance.sample(among, _FORGOTTEN) for word in ("--id", id_)]
        return _Stage(
            "deletion",
            lambda run: ["forget", str(run), *gone],
            lambda run: _count(run, "SELECT COUNT(*) FROM revisions WHERE kind = 'deletion'") >= number,
        )

    def earlier_version(run: Path) -> Sequence[str]:
        found = list_versions(run)
        usable = [one.version for one in found.versions if found.status_of(one) == "can be served"]
        return ["rollback", str(run), str(usable[max(0, len(usable) - 2)])]

    back = _Stage(
        "rollback",
        earlier_version,
        lambda run: _count(run, "SELECT COUNT(*) FROM decisions WHERE kind = 'rollback'") > 0,
    )
    return [
        learning(parts[0]),
        deletion(1, ids[0]),
        learning(parts[1]),
        back,
        deletion(2, ids[1]),
        learning(parts[2]),
    ]


def _parts(stream: CrashStream, folder: Path) -> list[Path]:
    records = read_codes(stream.path)
    size = -(-len(records) // _PARTS)
    parts = [folder / f"part-{number}.parquet" for number in range(_PARTS)]
    for number, part in enumerate(parts):
        write_codes(part, records[number * size : (number + 1) * size], CodesSource(stream.path))
    return parts


def _shares(stages: Sequence[_Stage], num_kills: int) -> list[int]:
    num_learning = sum(stage.is_done is None for stage in stages)
    learning = round(num_kills * _SHARE_OF_LEARNING / num_learning)
    other = round(num_kills * (1 - _SHARE_OF_LEARNING) / (len(stages) - num_learning))
    return [max(1, learning if stage.is_done is None else other) for stage in stages]


def _use_known_key(run: Path) -> None:
    """What stays of a deleted id is a hash under a random key; with one key two runs can be compared."""
    with Journal.open_to_write(run / JOURNAL) as journal:
        journal.set_meta("salts", bytes(16).hex())


def _count(run: Path, query: str) -> int:
    with Journal.open_to_read(run / JOURNAL) as journal:
        return int(journal.database.one(query)[0])
