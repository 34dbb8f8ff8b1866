"""What becomes a version: candidates that the guard judges, or, without one, the end of each sitting."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from everlearn.journal.records import After, NewStep
from everlearn.runtime.fold.live_run import LiveRun
from everlearn.runtime.folder.versions import add_version, latest_version
from everlearn.runtime.guard.guard import UNEXAMINED, Guard
from everlearn.runtime.loop.saving import Saving
from everlearn.types import Json

__all__ = ["EXAMINED", "Publishing"]

EXAMINED = After(settle=True, examine=True)
"""What comes after a step that makes a candidate."""


class Publishing:
    """Makes versions of a live state.

    Args:
        live: The state.
        guard: Judges candidates; None: there is none.
        saving: Saves the state.
        make: Journals a step and makes it.
    """

    def __init__(
        self, live: LiveRun, guard: Guard | None, saving: Saving, make: Callable[[NewStep], None]
    ) -> None:
        self._live = live
        self._guard = guard
        self._saving = saving
        self._make = make
        self._examined_at = time.monotonic()
        self._first_step = live.folder.journal.last_step

    @property
    def has_unexamined(self) -> bool:
        """Whether something came or was learned that no candidate was judged with."""
        return self._guard is not None and self._guard.has_unexamined

    def is_due(self, num_arrived: int) -> bool:
        """Whether a candidate is to be made of a batch with so many examples, and what came before it."""
        # A sitting that comes to nothing is undone, which a judgement could not be.
        if self._guard is None or not self._live.scores.counts.learned:
            return False
        settings = self._live.config.guard
        is_time = settings.seconds is not None and time.monotonic() - self._examined_at >= settings.seconds
        return is_time or self._guard.num_unexamined + num_arrived >= settings.every

    def judge_undecided(self) -> None:
        """Where a crash came between a candidate, the decision on it and what that brings back: go on."""
        journal = self._live.folder.journal
        if self._guard is None or not journal.last_step:
            return
        if not self._guard.has_decided(journal.last_step) and journal.step(journal.last_step).after.examine:
            self.examine()
        elif (verdict := self._guard.readmission_due) is not None:
            self._readmit(is_candidate=verdict == "rejected")

    def examine(self) -> None:
        """Let the guard judge the present state."""
        assert self._guard is not None, "only a guard asks for it"
        live = self._live
        with live.fold.clock.measure("evaluate"):
            verdict = self._guard.consider(live.learner, self._saving.status)
        self._examined_at = time.monotonic()
        if not verdict.is_accepted:
            live.bring_back()
            # Texts are dropped once a state holds them, and the states since the last version are gone.
            self._saving.save_state()
        if verdict.readmits:  # of a rejected interval this is a candidate too
            self._readmit(is_candidate=not verdict.is_accepted)
        if not verdict.is_accepted:
            self._saving.save()  # texts are dropped by now, as nothing more of them comes back at once
        live.scores.rest()

    def _readmit(self, *, is_candidate: bool) -> None:
        """Learn again what was set aside and proved right, batch by batch; what cannot be is left out."""
        assert self._guard is not None
        changes, size = self._guard.readmissions(), self._live.config.stream.batch_size
        parts = [changes[start : start + size] for start in range(0, len(changes), size)]
        for number, part in enumerate(parts, start=1):
            examine = is_candidate and number == len(parts)
            self._make(NewStep(changes=part, after=EXAMINED if examine else After()))
        self._guard.end_readmission()

    def end_sitting(self, summary: Mapping[str, Json]) -> None:
        """Make a version of the checkpoint that was just written, unless its parent equals it."""
        folder, saved = self._live.folder, self._saving.newest
        assert saved is not None, "save first"
        if self._guard is not None:
            return  # only the guard makes versions
        parent = latest_version(folder)
        if any(
            version.fingerprint == summary["fingerprint"] and version.file is not None
            for version in folder.history.versions()
            if version.version == parent
        ):
            return
        names = folder.task.version_scores
        add_version(
            folder,
            file=saved.file,
            fingerprint=str(summary["fingerprint"]),
            num_examples=self._live.learner.num_examples,
            reason="end of a sitting",
            scores={name: summary[name] for name in names if summary.get(name) is not None},
            author="learn",
        )
        folder.prune()

    def notes(self) -> list[str]:
        """What the guard decided in this sitting, and what is served, in sentences."""
        serving = self._live.folder.serving
        everything = self._live.folder.history.decisions()
        decisions = [
            decision
            for decision in everything
            if decision.kind == "guard" and decision.step > self._first_step
        ]
        notes = [
            f"Refused, and steps {decision.first_step:,} to {decision.step:,} set aside (decision "
            f"{decision.decision}): {decision.reason}."
            for decision in decisions
            if decision.verdict == "rejected"
        ]
        if decisions:
            accepted = sum(decision.verdict == "accepted" for decision in decisions)
            notes.append(f"{accepted:,} of {len(decisions):,} candidates became versions.")
        if unexamined := sum(decision.reason.startswith(UNEXAMINED) for decision in decisions):
            notes.append(
                f"{unexamined:,} of them unexamined, as nothing was held back yet that has a text: a larger "
                "share (--guard-share) or fewer candidates (--guard-every) give the guard something to ask."
            )
        if serving is not None:
            last = next(
                (
                    decision
                    for decision in reversed(everything)
                    if decision.kind == "rollback" or decision.verdict == "accepted"
                ),
                None,
            )
            is_chosen = self._guard is None or (last is not None and last.kind == "rollback")
            kept = "a rollback keeps it" if is_chosen else "the guard accepted it"
            notes.append(f"Version {serving} is served: {kept}.")
        return notes
