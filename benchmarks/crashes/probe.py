"""Inside the process that is going to be killed: what it is doing, told through shared memory, and its end.

The probe wraps the functions at which something becomes durable (or is learned). Each call of one is two
*moments*, just before and just after it; the process kills itself at the moment it was told, or is killed
from outside at any time.
"""

from __future__ import annotations

import functools
import importlib
import mmap
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from everlearn.journal.schema import SCHEMA_VERSION

__all__ = ["BOARD_BYTES", "PHASES", "SLOTS", "Anchor", "Arming", "Probe", "read_board"]

PHASES = (
    "starting",
    "making the run",
    "migration",
    "opening",
    "recovery fold",
    "reading and encoding",
    "predicting",
    "journal append",
    "learning",
    "checkpoint write",
    "version publishing",
    "report",
    "between steps",
    "compaction",
    "another command",
    "deletion",
    "rollback",
)
"""What a process may be doing; ``migration`` includes that of an empty file, which makes the tables."""

SLOTS = ("phase", "moments", "step", "saves", "ready_moments", "ready_ns", "ending_moments", "ending_ns")
BOARD_BYTES = 8 * len(SLOTS)

Anchor = Literal["start", "step", "end"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arming:
    """When a process is to die.

    Attributes:
        anchor: From when on moments (or time) are counted: the process's start, the beginning of a step, or
            the stream's end.
        step: That step.
        phase: Only moments of this phase count; None: all do.
        until_step: From this step on all moments count, lest the phase never comes.
        moments: Which moment is the last one; None: it is killed from outside.
        seconds: How long after the anchor it is killed from outside; None: it kills itself.
    """

    anchor: Anchor
    step: int = 0
    phase: str | None = None
    until_step: int = 0
    moments: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class _Point:
    """A function that is wrapped: ``module:name``, the phase that it is, and when it is that phase."""

    target: str
    phase: str | None = None
    when: Callable[..., bool] | None = None


_POINTS = (
    _Point("everlearn.runtime.folder.run_folder:RunFolder.create", "making the run"),
    _Point(
        "everlearn.journal.database:Database._prepare_to_write",
        "migration",
        lambda database: database.version < SCHEMA_VERSION,
    ),
    _Point("everlearn.runtime.folder.run_folder:RunFolder.open_to_write", "opening"),
    _Point("everlearn.runtime.fold.live_run:recover", "recovery fold"),
    _Point("everlearn.stream.batches:BatchReader.next_batch", "reading and encoding"),
    _Point("everlearn.runtime.fold.fold:Fold.prepare", "reading and encoding"),
    _Point("everlearn.runtime.fold.fold:Fold.predict", "predicting"),
    _Point("everlearn.journal.journal:Journal.append", "journal append"),
    _Point("everlearn.runtime.fold.fold:Fold.make", "learning"),
    _Point("everlearn.runtime.loop.saving:Saving.save", "checkpoint write"),
    _Point("everlearn.runtime.loop.publishing:add_version", "version publishing"),
    _Point("everlearn.runtime.guard.guard:Guard.consider", "version publishing"),
    _Point("everlearn.runtime.loop.saving:write_metrics", "report"),
    _Point("everlearn.runtime.folder.run_folder:RunFolder.write_rejections", "report"),
    _Point("everlearn.runtime.commands.learn:write_reader_files", "report"),
    _Point("everlearn.runtime.commands.learn:_finish", "between steps"),
    _Point("everlearn.journal.database:Database.execute"),
    _Point("everlearn.journal.database:Database.executemany"),
    _Point("everlearn.journal.state_files:save_file"),
    _Point("everlearn.learning.closed_form.learner:ClosedFormLearner.learn"),
    _Point("everlearn.learning.closed_form.learner:ClosedFormLearner.correct"),
    _Point("everlearn.learning.gradient.learner:GradientLearner.learn"),
    _Point("everlearn.learning.gradient.trained_learner:TrainedLearner.forget"),
    _Point("os:fsync"),
    _Point("os:replace"),
    _Point("os:rename"),
    _Point("os:unlink"),
    _Point("os:mkdir"),
)

_OWN_PHASE_ONLY = frozenset({PHASES.index("recovery fold")})


class Probe:
    """Counts moments, tells them, and ends the process at the one it was armed for.

    Args:
        board: The shared file, ``BOARD_BYTES`` long.
        arming: When the process is to kill itself; None: never.
        phase: The one phase of a command other than ``learn``; None: its functions' own.
    """

    def __init__(self, board: Path, arming: Arming | None, phase: str | None = None) -> None:
        with board.open("r+b") as file:
            self._board = memoryview(mmap.mmap(file.fileno(), BOARD_BYTES)).cast("q")
        self._arming = arming
        self._left = arming.moments if arming is not None else None
        self._is_anchored = arming is not None and arming.anchor == "start"
        self._is_one_phase = phase is not None
        self._set("phase", PHASES.index(phase or PHASES[0]))

    def install(self) -> None:
        """Wrap everything that is looked at; a name that is gone is an error."""
        for point in _POINTS:
            module_name, _, path = point.target.partition(":")
            owner: Any = importlib.import_module(module_name)
            *parents, name = path.split(".")
            for parent in parents:
                owner = getattr(owner, parent)
            raw = vars(owner)[name]
            if isinstance(raw, classmethod):
                setattr(owner, name, classmethod(self._wrapped(point, raw.__func__)))
            else:
                setattr(owner, name, self._wrapped(point, raw))

    def _wrapped(self, point: _Point, function: Callable[..., Any]) -> Callable[..., Any]:
        number = None if point.phase is None else PHASES.index(point.phase)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            before = self._get("phase")
            is_inner = self._is_one_phase or before in _OWN_PHASE_ONLY
            if number is not None and not is_inner and (point.when is None or point.when(*args)):
                self._set("phase", number)
            self._note(point.target, args)
            self._moment()
            try:
                return function(*args, **kwargs)
            finally:
                self._moment()
                if point.phase == "checkpoint write":
                    self._set("saves", self._get("saves") + 1)
                # What follows the first phases belongs to none of them.
                between = PHASES.index("between steps")
                started = number is not None and before == 0 and not is_inner
                self._set("phase", between if started else before)

        return call

    def _note(self, target: str, args: tuple[Any, ...]) -> None:
        if target.endswith(":Journal.append"):
            self._set("step", args[0].last_step + 1)
            if not self._get("ready_ns"):
                self._set("ready_ns", time.monotonic_ns())
                self._set("ready_moments", self._get("moments"))
            if self._arming is not None and self._arming.anchor == "step":
                self._is_anchored = self._is_anchored or self._get("step") >= self._arming.step
        elif target.endswith(":_finish"):
            self._set("ending_ns", time.monotonic_ns())
            self._set("ending_moments", self._get("moments"))
            if self._arming is not None and self._arming.anchor == "end":
                self._is_anchored = True

    def _moment(self) -> None:
        self._set("moments", self._get("moments") + 1)
        arming = self._arming
        if arming is None or self._left is None or not self._is_anchored:
            return
        is_meant = arming.phase is None or PHASES[self._get("phase")] == arming.phase
        if is_meant or self._get("step") >= arming.until_step:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def _get(self, slot: str) -> int:
        return int(self._board[SLOTS.index(slot)])

    def _set(self, slot: str, value: int) -> None:
        self._board[SLOTS.index(slot)] = value


def read_board(board: memoryview) -> Mapping[str, int]:
    """What a process told, by slot."""
    return dict(zip(SLOTS, board, strict=True))
