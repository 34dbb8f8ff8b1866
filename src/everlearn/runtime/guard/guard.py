"""The guard between learning and serving: a candidate becomes a version only if it is not worse.

Three questions are asked of a candidate, and each answer is journaled with its numbers:

* the recent exam and the long-term exam: does it lose more than the tolerance against the version that
  is served, on the same examples, by a paired test?
* surprise (of labels): does what it learned since contradict confident predictions far more often than usual,
  without making it better at the held-back part of the same interval? Wrong labels do that; a change of
  the world makes the candidate better at what is new.

Language models and encoder-decoders are compared by their losses on held-back documents and pairs. They are
not asked the third question; instead their long-term exam is on what came before the interval alone. What was
set aside does not come back by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from everlearn.journal.history_records import Decision
from everlearn.journal.records import Change
from everlearn.journal.standing.intervals import first_offset_since, has_new_after
from everlearn.journal.standing.judged import HistoryMark, history_mark, last_judged, was_judged
from everlearn.learning.run_learner import RunLearner
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.versions import add_version, examined_version
from everlearn.runtime.guard.quarantine import is_of_readmissions, quarantine_interval, quarantined
from everlearn.runtime.guard.surprise import is_better, surprise_of
from everlearn.settings import GuardSettings
from everlearn.tasks.exams import Compared, Examined
from everlearn.tasks.input import has_input
from everlearn.tasks.records import RunStatus
from everlearn.types import Example, Json, Predictor

__all__ = ["UNEXAMINED", "Examination", "Guard", "Verdict"]

UNEXAMINED = "accepted unexamined"
"""What a decision's reason begins with where no exam had anything to ask."""
_READMITTED_AT_ONCE = 5_000
_READMISSION_DUE = "readmission_due"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a candidate.

    Attributes:
        decision: As journaled.
        readmits: Whether ``Guard.readmissions`` are to be learned now. After a rejection they are a candidate
            of their own.
    """

    decision: Decision
    readmits: bool = False

    @property
    def is_accepted(self) -> bool:
        """Whether it is a version now."""
        return self.decision.verdict == "accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the exams say of a candidate.

    Attributes:
        reasons: Why it is not to be served, in words; empty: it is not worse on either exam.
        numbers: What that rests on.
        scores: The candidate's accuracy on each exam, or its bits per byte.
    """

    reasons: list[str]
    numbers: dict[str, Json]
    scores: dict[str, Json]


class Guard:
    """Examines candidates of a run, which is open for writing."""

    def __init__(self, folder: RunFolder, settings: GuardSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._reads_text = folder.record.learner.kind != "closed-form"
        self._exams = folder.task.exams(folder.journal, settings, reads_text=self._reads_text)
        self._live: Examined | None = None
        self._known_history: HistoryMark | None = None
        self._last_examined = 0

    @property
    def last_examined(self) -> int:
        """The last step that was judged, or served before there was a guard; 0: there was none.

        Going back to a version judges nothing: what it takes back is out of the fold, the rest waits for the
        next candidate.
        """
        # Asked at each batch, so found out only where history has gone on.
        history = history_mark(self._folder.journal)
        if history != self._known_history:
            self._known_history, self._last_examined = history, last_judged(self._folder.journal)
        return self._last_examined

    @property
    def num_unexamined(self) -> int:
        """Examples that came since the last judgement."""
        first_offset = first_offset_since(self._folder.journal, self.last_examined + 1)
        return 0 if first_offset is None else self._folder.journal.next_offset - first_offset

    @property
    def has_unexamined(self) -> bool:
        """Whether something came or was learned since the last judgement, readmissions left out."""
        return has_new_after(self._folder.journal, self.last_examined)

    @property
    def _readmits(self) -> bool:
        """Whether what was set aside is looked at again; of texts no prediction says that they were right."""
        return self._settings.readmit and self._exams.has_right_answers

    def has_decided(self, step: int) -> bool:
        """Whether the candidate of a step was judged."""
        return was_judged(self._folder.journal, step)

    def needed_texts(self) -> set[int]:
        """Offsets of the examples whose texts candidates are examined on."""
        if not self._reads_text:
            return set()
        first_offset = first_offset_since(self._folder.journal, self.last_examined + 1)
        return self._exams.needed(self._folder.journal.next_offset if first_offset is None else first_offset)

    def consider(self, learner: RunLearner, status: Callable[[], RunStatus]) -> Verdict:
        """Examine the learner's present state; make it a version, or set its interval aside.

        After a rejection the caller brings the learner back to where the journal's fold stands.

        Args:
            learner: Settled, after the newest step.
            status: What a checkpoint keeps beside the state.
        """
        journal = self._folder.journal
        first_step, step = self.last_examined + 1, journal.last_step
        live = self._live_predictor()
        if live is None:
            return self._accept(
                learner, status, first_step, "there was no version before it that holds anything", {}, {}
            )
        candidate = Examined(learner, journal.generation)
        first_offset = first_offset_since(journal, first_step)
        examination = self._examine(live, candidate, first_offset)
        own = self._compare(live, candidate, [] if first_offset is None else self._exams.since(first_offset))
        reasons = examination.reasons
        numbers = examination.numbers | {"own": own.numbers}
        if self._exams.has_right_answers:
            surprise = surprise_of(self._folder, self._settings.confidence, first_step, step)
            numbers["surprise"] = surprise.to_json()
            if self._settings.surprise and surprise.is_extreme and not is_better(own):
                reasons.append(
                    f"{surprise.num_contradicted:,} of {surprise.num_examples:,} examples contradict "
                    f"confident predictions (usual: {surprise.usual_rate:.1%}), and the candidate is no "
                    "better at them"
                )
        if reasons:
            return self._reject(first_step, "; ".join(reasons), numbers)
        reason = _passed(int(numbers["recent"]["examples"]), int(numbers["long_term"]["examples"]))
        return self._accept(learner, status, first_step, reason, numbers, examination.scores)

    def examine(self, candidate: Predictor, generation: int) -> Examination:
        """Let a settled candidate, with codes of a generation, sit the exams against what is served."""
        live = self._live_predictor()
        if live is None:
            return Examination(reasons=[], numbers={}, scores={})
        return self._examine(live, Examined(candidate, generation))

    def _examine(self, live: Examined, candidate: Examined, first_offset: int | None = None) -> Examination:
        self._exams.begin(live)
        recent, long_term = self._exams.choose(first_offset)
        comparisons = {
            "recent": self._compare(live, candidate, recent),
            "long_term": self._compare(live, candidate, long_term),
        }
        reasons = [
            f"{name.replace('_', '-')} exam: {compared.change} (p = {compared.p_value:.2g})"
            for name, compared in comparisons.items()
            if compared.p_value < self._settings.level and compared.is_worse
        ]
        scores: dict[str, Json] = {
            f"{name}_{ending}": value
            for name, compared in comparisons.items()
            for ending, value in compared.scores.items()
            if value is not None
        }
        numbers: dict[str, Json] = {name: compared.numbers for name, compared in comparisons.items()}
        return Examination(reasons=reasons, numbers=numbers, scores=scores)

    def _accept(
        self,
        learner: RunLearner,
        status: Callable[[], RunStatus],
        first_step: int,
        reason: str,
        numbers: dict[str, Json],
        scores: dict[str, Json],
    ) -> Verdict:
        folder, journal = self._folder, self._folder.journal
        saved = folder.save(learner.state(), status())
        live = Examined(learner.frozen(), journal.generation)
        self._exams.adopt(live)
        with folder.saving(), journal.transaction():
            decision = folder.decide("guard", "accepted", reason, numbers, first_step)
            self._note_readmission("accepted" if self._readmits else "")
            version = add_version(
                folder,
                file=saved.file,
                fingerprint=learner.fingerprint(),
                num_examples=learner.num_examples,
                reason=reason,
                scores=scores,
                author="guard",
            )
            folder.serve(version.version)
        folder.prune()
        self._live = live
        return Verdict(decision=decision, readmits=self._readmits)

    def _reject(self, first_step: int, reason: str, numbers: dict[str, Json]) -> Verdict:
        folder, journal = self._folder, self._folder.journal
        with folder.saving(), journal.transaction():
            decision = folder.decide("guard", "rejected", reason, numbers, first_step)
            is_rest = is_of_readmissions(folder)
            quarantine_interval(
                folder,
                first_step,
                reason,
                decision.decision,
                but_readmissions=not is_rest,
                reads_text=self._reads_text,
            )
            # What the served version agrees with is right even so: without it, a fault that lasts would keep
            # everything else from being learned too.
            readmits = self._readmits and not is_rest
            self._note_readmission("rejected" if readmits else "")
        folder.remove_outdated()
        return Verdict(decision=decision, readmits=readmits)

    def _live_predictor(self) -> Examined | None:
        """What is served; None: no version is there yet, or none that still holds anything."""
        if self._live is None and (version := examined_version(self._folder)) is not None:
            checkpoint = self._folder.checkpoints.load(str(version.file))
            learner = self._folder.fresh_learner(checkpoint.generation)
            learner.restore(checkpoint.learner)
            learner.solve()  # one that was written anew after a deletion may not be
            if self._exams.can_compare(learner):
                self._live = Examined(learner.frozen(), checkpoint.generation)
        return self._live

    def _compare(self, live: Examined, candidate: Examined, exam: Sequence[Any]) -> Compared:
        return self._exams.compare(
            live, candidate, exam, tolerance=self._settings.tolerance, test=self._settings.test
        )

    @property
    def readmission_due(self) -> str | None:
        """The verdict after which set-aside examples are still to be learned again; None: they have been."""
        return self._folder.journal.meta(_READMISSION_DUE) or None

    def end_readmission(self) -> None:
        """Note that they have been."""
        with self._folder.saving():
            self._note_readmission("")

    def _note_readmission(self, verdict: str) -> None:
        self._folder.journal.set_meta(_READMISSION_DUE, verdict)

    def readmissions(self) -> list[Change]:
        """Examples that a rejection set aside, with which the served version agrees."""
        live = self._live_predictor()
        if live is None or not self._readmits:
            return []
        journal = self._folder.journal
        examples: list[tuple[int, Example]] = []
        for entry in quarantined(self._folder):
            if entry.target is None:
                continue
            example = journal.examples.at(entry.offset)
            assert example is not None, "the query named it"
            # Codes of another trunk, from behind a rollback, cannot be judged, nor can dropped texts.
            if has_input(example, reads_text=self._reads_text):
                examples.append((entry.offset, example.with_target(entry.target)))
            if len(examples) == _READMITTED_AT_ONCE:
                break
        examples.sort(key=lambda pair: pair[0])
        right = self._exams.right(live.predictor, [example for _, example in examples])
        return [
            Change(offset, "readmitted", None, str(example.target))
            for (offset, example), is_right in zip(examples, right, strict=True)
            if is_right
        ]


def _passed(recent: int, long_term: int) -> str:
    """Why a candidate is accepted that failed no exam, by what the exams had to ask."""
    if recent and long_term:
        return "not worse on either exam"
    if recent or long_term:
        held, empty = ("recent", "long-term") if recent else ("long-term", "recent")
        return f"not worse on the {held} exam; nothing is held back yet for the {empty} one"
    return f"{UNEXAMINED}: nothing is held back yet that it could be examined on"
