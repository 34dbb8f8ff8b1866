"""A run that is killed again and again, and gone on with each time."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.crashes.nursery import Ended, Nursery
from benchmarks.crashes.older_format import to_first_format
from benchmarks.crashes.outcome import differences, outcome_of
from benchmarks.crashes.probe import Anchor, Arming
from benchmarks.crashes.streams import CrashStream

__all__ = ["INTERLUDES", "CampaignError", "CampaignResult", "Interlude", "campaign"]

_TARGET_PHASES = (
    None,
    "journal append",
    "learning",
    "checkpoint write",
    "checkpoint write",
    "report",
    "reading and encoding",
    "version publishing",
)
_PATIENCE = {"version publishing": 15}  # steps for which a phase is waited for
_CHECKPOINT_SECONDS = ("0", "0.02", "0.2", "0.5")
_MAX_TRIES = 20
_NO_STEP = 1 << 60


@dataclass(frozen=True, slots=True)
class Interlude:
    """A command between two sittings of learning, which is killed too.

    It must leave what the journal says and what was learned as they are.

    Attributes:
        phase: Its name in the table, one of ``probe.PHASES``.
        arguments: What follows ``everlearn``; ``{run}`` stands for the run folder.
        before: Is done with the run folder first.
    """

    phase: str
    arguments: tuple[str, ...]
    before: Callable[[Path], None] | None = None


INTERLUDES: tuple[Interlude, ...] = (
    Interlude("compaction", ("journal", "compact", "{run}")),
    Interlude("another command", ("report", "{run}")),
    # Opening a journal of the first format to write brings it up to date.
    Interlude("migration", ("journal", "compact", "{run}"), before=to_first_format),
)
"""All such commands there are."""


class CampaignError(RuntimeError):
    """A command failed by itself."""


@dataclass(slots=True, kw_only=True)
class CampaignResult:
    """What became of a campaign.

    Attributes:
        kills: How many by phase and by what (``moment``, ``clock``).
        num_sittings: Commands run in all.
        num_steps: Steps of the run in the end.
        seconds: Time of all commands.
        undisturbed_seconds: Time of the run that nobody disturbed.
        differences: In what the two differ; empty: in nothing.
    """

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    num_sittings: int = 0
    num_steps: int = 0
    seconds: float = 0.0
    undisturbed_seconds: float = 0.0
    differences: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Kill:
    """A kill that is planned: where, by what, and in which command."""

    where: str  # "new", "start", "step", "end" or "interlude"
    by: str
    step: int = 0


@dataclass(slots=True)
class _Pace:
    """How long things take, for choosing moments within them."""

    start_moments: int = 60
    start_seconds: float = 0.5
    end_moments: int = 60
    end_seconds: float = 0.3
    step_moments: float = 40.0
    step_seconds: float = 0.05
    commands: dict[Interlude, tuple[int, float]] = field(default_factory=dict)

    def learn_from(self, ended: Ended) -> None:
        """Take what a sitting took to its first step, and (where it came so far) for its end."""
        board = ended.board
        if board["ready_ns"]:
            self.start_moments = board["ready_moments"]
            self.start_seconds = (board["ready_ns"] - ended.started_ns) / 1e9
        if board["ending_ns"] and ended.code == 0:
            self.end_moments = board["moments"] - board["ending_moments"]
            self.end_seconds = (ended.ended_ns - board["ending_ns"]) / 1e9


def campaign(
    nursery: Nursery,
    folder: Path,
    stream: CrashStream,
    settings: Sequence[str],
    *,
    num_kills: int,
    seed: int,
    learns_all: bool = True,
    interludes: Sequence[Interlude] = INTERLUDES,
    show: bool = False,
) -> CampaignResult:
    """Learn a stream undisturbed, then with kills, and compare.

    Args:
        nursery: Makes the processes.
        folder: For both runs.
        stream: The stream.
        settings: Options of ``everlearn learn``.
        num_kills: So often a process is killed.
        seed: Of everything random, but for what the clock decides.
        learns_all: Whether every example with a target must be held in the end; a guard holds some back.
        interludes: Commands between sittings.
        show: Whether each kill is printed.

    Raises:
        CampaignError: A command ended in an error of its own.
    """
    chance = random.Random(seed)
    result = CampaignResult()
    calm = _Sitter(nursery, folder / "undisturbed", stream, settings)
    began = time.perf_counter()
    ended = calm.learn(None, "0.5")
    result.undisturbed_seconds = time.perf_counter() - began
    if ended.code != 0:
        raise calm.error(ended)
    undisturbed = outcome_of(calm.run)
    sitter = _Sitter(nursery, folder / "run", stream, settings)
    pace = _Pace()
    pace.learn_from(ended)
    steps = max(1, undisturbed.num_steps)
    pace.step_moments = (ended.board["ending_moments"] - pace.start_moments) / steps
    pace.step_seconds = (ended.board["ending_ns"] - ended.board["ready_ns"]) / 1e9 / steps
    for interlude in interludes:
        ended = calm.interlude(interlude)
        pace.commands[interlude] = ended.board["moments"], (ended.ended_ns - ended.started_ns) / 1e9
    began = time.perf_counter()
    for kill in _plan(num_kills, undisturbed.num_steps, bool(interludes), chance):
        ended, result.num_sittings = _carry_out(kill, sitter, pace, interludes, chance, result)
        result.kills[ended.phase, kill.by] += 1
        if show:
            step = ended.board["step"]
            print(f"  {kill.by:6} {kill.where:9} {ended.phase:22} step {step:,}", flush=True)
    sitter.finish()
    for interlude in interludes:
        sitter.interlude(interlude)
    sitter.finish()
    result.seconds = time.perf_counter() - began
    result.num_sittings += 2 + len(interludes)
    result.num_steps = outcome_of(sitter.run).num_steps
    result.differences = differences(sitter.run, undisturbed, stream.held if learns_all else None)
    return result


class _Sitter:
    """Runs commands on one run folder."""

    def __init__(self, nursery: Nursery, run: Path, stream: CrashStream, settings: Sequence[str]) -> None:
        self.run = run
        self.has_checkpoint = False
        self._nursery = nursery
        self._stream = stream
        self._settings = settings

    def learn(self, arming: Arming | None, checkpoint_seconds: str) -> Ended:
        arguments: list[str | Path] = ["learn", self._stream.path, "--out", self.run, *self._settings]
        ended = self._nursery.run([*arguments, "--checkpoint-seconds", checkpoint_seconds], arming)
        self.has_checkpoint = self.has_checkpoint or ended.board["saves"] > 0
        return ended

    def interlude(self, interlude: Interlude, arming: Arming | None = None) -> Ended:
        if interlude.before is not None:
            interlude.before(self.run)
        arguments = [word.replace("{run}", str(self.run)) for word in interlude.arguments]
        ended = self._nursery.run(arguments, arming, interlude.phase)
        if ended.code != 0 and not ended.was_killed:
            raise self.error(ended)
        return ended

    def finish(self) -> None:
        ended = self.learn(None, _CHECKPOINT_SECONDS[-1])
        if ended.code != 0:
            raise self.error(ended)

    def error(self, ended: Ended) -> CampaignError:
        log = self._nursery.log.read_text(encoding="utf-8", errors="replace").strip()
        return CampaignError(f"a command on {self.run} ended with {ended.code}, in {ended.phase}:\n{log}")


def _plan(num_kills: int, num_steps: int, has_interludes: bool, chance: random.Random) -> list[_Kill]:
    """Kills spread over the whole of a run: while it is made, in starts, in steps, at the end."""
    num_new = max(1, num_kills // 20)
    num_end = max(1, num_kills // 10)
    num_start = max(1, num_kills // 8)
    num_interlude = max(1, num_kills // 12) if has_interludes else 0
    num_stream = max(1, num_kills - num_new - num_end - num_start - num_interlude)
    steps = sorted(chance.randrange(1, num_steps + 1) for _ in range(num_stream))
    middle = [_Kill("step", "", step) for step in steps]
    for where, count in (("start", num_start), ("interlude", num_interlude)):
        for _ in range(count):
            middle.insert(chance.randrange(len(middle) + 1), _Kill(where, ""))
    kills = [
        *(_Kill("new", "") for _ in range(num_new)),
        *middle,
        *(_Kill("end", "") for _ in range(num_end)),
    ]
    by = ["moment", "clock"] * (len(kills) // 2 + 1)
    chance.shuffle(by)
    return [_Kill(one.where, by[k], one.step) for k, one in enumerate(kills)][:num_kills]


def _carry_out(
    kill: _Kill,
    sitter: _Sitter,
    pace: _Pace,
    interludes: Sequence[Interlude],
    chance: random.Random,
    result: CampaignResult,
) -> tuple[Ended, int]:
    """Run commands until one was killed as planned, or elsewhere where the plan came too late."""
    num_sittings = result.num_sittings
    where = kill.where
    if where == "interlude" and not sitter.has_checkpoint:
        where = "start"
    for _ in range(_MAX_TRIES):
        num_sittings += 1
        if where == "interlude":
            interlude = chance.choice(interludes)
            moments, seconds = pace.commands[interlude]
            ended = sitter.interlude(interlude, _within("start", kill.by, moments, seconds, chance))
        else:
            ended = sitter.learn(_armed(kill, where, pace, chance), chance.choice(_CHECKPOINT_SECONDS))
            pace.learn_from(ended)
        if ended.was_killed:
            return ended, num_sittings
        if ended.code != 0:
            raise sitter.error(ended)
        if where == "step":
            where = "end"  # the stream was over before
    raise CampaignError(f"{kill} did not come in {_MAX_TRIES} tries")


def _armed(kill: _Kill, where: str, pace: _Pace, chance: random.Random) -> Arming:
    if where == "end":
        if kill.by == "moment" and chance.random() < 0.3:
            # Only the first end of the stream makes a version; later ones are tried with another moment.
            moments = 1 + int(chance.random() * 20)
            return Arming(anchor="end", phase="version publishing", until_step=_NO_STEP, moments=moments)
        return _within("end", kill.by, pace.end_moments, pace.end_seconds, chance)
    if where != "step":
        return _within("start", kill.by, pace.start_moments, pace.start_seconds, chance)
    if kill.by == "clock":
        return Arming(anchor="step", step=kill.step, seconds=chance.uniform(0, 4 * pace.step_seconds))
    phase = chance.choice(_TARGET_PHASES)
    most = 2 * pace.step_moments if phase is None else 40
    return Arming(
        anchor="step",
        step=kill.step,
        phase=phase,
        until_step=kill.step + _PATIENCE.get(phase or "", 5),
        moments=1 + int(chance.random() * most),
    )


def _within(anchor: Anchor, by: str, moments: int, seconds: float, chance: random.Random) -> Arming:
    if by == "clock":
        return Arming(anchor=anchor, seconds=chance.uniform(0.0, seconds))
    return Arming(anchor=anchor, moments=1 + int(chance.random() * moments))
