"""The guard between learning and serving: a candidate becomes a version only if it is not worse.

Three questions are asked of a candidate, and each answer is journaled with its numbers:

* the recent exam and the long-term exam: does it lose more than the tolerance against the version that
  is served, on the same examples, by a paired test?
* surprise: does what it learned since contradict confident predictions far more often than usual,
  without making it better at the held-back part of the same interval? Wrong labels do that; a change of
  the world makes the candidate better at what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from everlearn.config import GuardSettings
from everlearn.evaluation.paired import PairedComparison, compare_paired
from everlearn.journal.records import Change, Decision, NewStep, Step
from everlearn.runtime.exams import Chosen, Exams
from everlearn.runtime.learners import RunLearner
from everlearn.runtime.run_folder import RunFolder
from everlearn.runtime.run_record import RunStatus
from everlearn.runtime.versions import add_version
from everlearn.types import Example, Json, Predictor

__all__ = ["Examination", "Guard", "Surprise", "Verdict"]

_PREDICTED_AT_ONCE = 512
_SURPRISE_LEVEL = 1e-4
_SURPRISE_MARGIN = 0.1
_USUAL_RATE = 0.02  # until intervals have been accepted: what well-labelled sets show
_USUAL_WEIGHT = 100
_READMITTED_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Surprise:
    """How often an interval contradicts confident predictions.

    Attributes:
        num_examples: Examples of the interval with a target that was known then.
        num_contradicted: Those that contradict.
        usual_rate: Share in what was accepted before.
        p_value: How probable so many are at the usual rate.
    """

    num_examples: int
    num_contradicted: int
    usual_rate: float
    p_value: float

    @property
    def is_extreme(self) -> bool:
        """Whether chance and hard examples cannot explain it."""
        if not self.num_examples:
            return False
        share = self.num_contradicted / self.num_examples
        return self.p_value < _SURPRISE_LEVEL and share > self.usual_rate + _SURPRISE_MARGIN

    def to_json(self) -> dict[str, Json]:
        """All figures."""
        return {
            "examples": self.num_examples,
            "contradicted": self.num_contradicted,
            "usual_rate": self.usual_rate,
            "p_value": self.p_value,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a candidate.

    Attributes:
        decision: As journaled.
        readmitted: A step that was journaled with it: examples that had been set aside and proved right;
            None: there are none. It is to be made after an acceptance. After a rejection it is part of what
            the caller folds again, and that is to be examined in turn.
    """

    decision: Decision
    readmitted: Step | None = None

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
        scores: The candidate's accuracy on each exam.
    """

    reasons: list[str]
    numbers: dict[str, Json]
    scores: dict[str, Json]


@dataclass(frozen=True, slots=True)
class _Examined:
    """Something that predicts, and the codes that it predicts from."""

    predictor: Predictor
    generation: int


class Guard:
    """Examines candidates of a run.

    Args:
        folder: The run, open for writing.
        settings: How.
    """

    def __init__(self, folder: RunFolder, settings: GuardSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._exams = Exams(folder.journal, settings.recent, settings.long_term)
        self._live: _Examined | None = None

    @property
    def last_examined(self) -> int:
        """The last step of the last interval that was judged; 0: there was none."""
        row = self._folder.journal.database.one(
            "SELECT COALESCE(MAX(step), 0) FROM decisions "
            "WHERE kind IN ('guard', 'rollback') OR (kind = 'consolidation' AND verdict = 'accepted')"
        )
        return int(row[0])

    @property
    def num_unexamined(self) -> int:
        """Examples that came since the last judgement."""
        journal = self._folder.journal
        row = journal.database.one(
            "SELECT MIN(first_offset) FROM steps WHERE step > ?", (self.last_examined,)
        )
        return 0 if row[0] is None else journal.next_offset - int(row[0])

    def has_decided(self, step: int) -> bool:
        """Whether the candidate of a step was judged."""
        row = self._folder.journal.database.first(
            "SELECT 1 FROM decisions WHERE step = ? AND kind = 'guard'", (step,)
        )
        return row is not None

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
            return self._accept(learner, status, first_step, "there was no version before it", {}, {})
        candidate = _Examined(learner, journal.generation)
        examination = self._examine(live, candidate)
        surprise = self._surprise(first_step, step)
        own = self._compare(live, candidate, self._own_exam(first_step))
        reasons = examination.reasons
        numbers = examination.numbers | {"surprise": surprise.to_json(), "own": own.to_json()}
        if self._settings.surprise and surprise.is_extreme and not _is_better(own):
            reasons.append(
                f"{surprise.num_contradicted:,} of {surprise.num_examples:,} examples contradict confident "
                f"predictions (usual: {surprise.usual_rate:.1%}), and the candidate is no better at them"
            )
        if reasons:
            return self._reject(live.predictor, first_step, "; ".join(reasons), numbers)
        reason = "not worse on either exam"
        return self._accept(learner, status, first_step, reason, numbers, examination.scores)

    def examine(self, candidate: Predictor, generation: int) -> Examination:
        """Let a candidate sit the exams against what is served; nothing is decided.

        Args:
            candidate: Settled.
            generation: Of the codes that it predicts from.
        """
        live = self._live_predictor()
        if live is None:
            return Examination(reasons=[], numbers={}, scores={})
        return self._examine(live, _Examined(candidate, generation))

    def _examine(self, live: _Examined, candidate: _Examined) -> Examination:
        recent, long_term = self._exams.choose()
        comparisons = {
            "recent": self._compare(live, candidate, recent),
            "long_term": self._compare(live, candidate, long_term),
        }
        reasons = [
            f"{name.replace('_', '-')} exam: accuracy falls from {one.live_accuracy:.1%} to "
            f"{one.candidate_accuracy:.1%} on {one.num_examples:,} examples (p = {one.p_value:.2g})"
            for name, one in comparisons.items()
            if one.p_value < self._settings.level and one.drop > 0
        ]
        scores: dict[str, Json] = {
            f"{name}_accuracy": one.candidate_accuracy
            for name, one in comparisons.items()
            if one.candidate_accuracy is not None
        }
        numbers: dict[str, Json] = {name: one.to_json() for name, one in comparisons.items()}
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
        live = _Examined(learner.frozen(), journal.generation)
        changes = self._proved_right(live.predictor) if self._settings.readmit else []
        readmitted = None
        with folder.saving(), journal.database.transaction():
            decision = self._decide("accepted", first_step, reason, numbers)
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
            if changes:
                readmitted = journal.append(NewStep(changes=changes), keep_text=False)
        folder.prune()
        self._live = live
        return Verdict(decision=decision, readmitted=readmitted)

    def _reject(self, live: Predictor, first_step: int, reason: str, numbers: dict[str, Json]) -> Verdict:
        folder, journal = self._folder, self._folder.journal
        with folder.saving(), journal.database.transaction():
            decision = self._decide("rejected", first_step, reason, numbers)
            revision = folder.history.revise(
                "quarantine", first_step, journal.last_step, reason, {"decision": decision.decision}
            )
            # A candidate of readmissions alone: what was left of an interval that was rejected before.
            is_rest = any(one.kind == "readmitted" for one in journal.changes_of(journal.last_step))
            folder.history.set_aside(first_step, journal.last_step, revision, but_readmissions=not is_rest)
            # What the served version agrees with is right even so: without it, a fault that lasts would keep
            # everything else from being learned too.
            changes = self._proved_right(live) if self._settings.readmit and not is_rest else []
            readmitted = None
            if changes:
                new = NewStep(changes=changes, after={"settle": True, "examine": True})
                readmitted = journal.append(new, keep_text=False)
        folder.remove_outdated()
        return Verdict(decision=decision, readmitted=readmitted)

    def _decide(self, verdict: str, first_step: int, reason: str, numbers: dict[str, Json]) -> Decision:
        return self._folder.history.decide(
            step=self._folder.journal.last_step,
            first_step=first_step,
            kind="guard",
            verdict=verdict,
            reason=reason,
            numbers=numbers,
        )

    def _live_predictor(self) -> _Examined | None:
        if self._live is None and self._folder.serving is not None:
            checkpoint = self._folder.served_checkpoint()
            learner = self._folder.fresh_learner(checkpoint.generation)
            learner.restore(checkpoint.learner)
            self._live = _Examined(learner.frozen(), checkpoint.generation)
        return self._live

    def _compare(self, live: _Examined, candidate: _Examined, exam: Sequence[Chosen]) -> PairedComparison:
        of_live, of_candidate = self._exams.examples(exam, (live.generation, candidate.generation))
        return compare_paired(
            _right(live.predictor, of_live),
            _right(candidate.predictor, of_candidate),
            tolerance=self._settings.tolerance,
            test=self._settings.test,
        )

    def _own_exam(self, first_step: int) -> list[Chosen]:
        """The held-back examples that came with the interval."""
        row = self._folder.journal.database.one(
            "SELECT MIN(first_offset) FROM steps WHERE step >= ?", (first_step,)
        )
        return [] if row[0] is None else self._exams.since(row[0])

    def _surprise(self, first_step: int, last_step: int) -> Surprise:
        count, contradicted = self._contradictions(first_step, last_step)
        known = known_contradicted = 0
        for decision in self._folder.history.decisions():
            found = decision.numbers.get("surprise")
            # What was accepted in spite of many contradictions is not usual for that.
            if decision.verdict == "accepted" and found is not None and found["p_value"] >= _SURPRISE_LEVEL:
                known += found["examples"]
                known_contradicted += found["contradicted"]
        usual = (known_contradicted + _USUAL_RATE * _USUAL_WEIGHT) / (known + _USUAL_WEIGHT)
        p_value = float(binom.sf(contradicted - 1, count, usual)) if contradicted else 1.0
        return Surprise(num_examples=count, num_contradicted=contradicted, usual_rate=usual, p_value=p_value)

    def _contradictions(self, first_step: int, last_step: int) -> tuple[int, int]:
        row = self._folder.journal.database.one(
            "SELECT COUNT(*), COALESCE(SUM(p.label <> e.target AND p.confidence >= ?), 0) FROM examples e "
            "JOIN predictions p ON p.offset = e.offset "
            "WHERE e.step BETWEEN ? AND ? AND e.target IS NOT NULL AND p.target_probability IS NOT NULL",
            (self._settings.confidence, first_step, last_step),
        )
        return int(row[0]), int(row[1])

    def _proved_right(self, live: Predictor) -> list[Change]:
        """Examples that a rejection set aside, with which the new version agrees."""
        journal = self._folder.journal
        rows = journal.database.all(
            "SELECT e.offset FROM examples e JOIN steps s ON s.step = e.step "
            "JOIN revisions r ON r.revision = s.set_aside "
            "WHERE r.kind = 'quarantine' AND e.role = 'learn' "
            "AND NOT EXISTS (SELECT 1 FROM changes c JOIN steps t ON t.step = c.step "
            "WHERE c.offset = e.offset AND c.kind <> 'pending' AND t.set_aside IS NULL) "
            "ORDER BY e.offset DESC LIMIT ?",
            (_READMITTED_AT_ONCE,),
        )
        examples = []
        for (offset,) in reversed(rows):
            example = journal.example_at(offset)
            target = None if example is None else journal.present_target(offset, example.target)
            if example is None or target is None:
                continue
            # One that came with codes of another trunk, from behind a rollback, cannot be judged.
            if example.code is not None or self._folder.record.learner.kind != "closed-form":
                examples.append((offset, example.with_target(target)))
        right = _right(live, [example for _, example in examples])
        return [
            Change(offset, "readmitted", None, str(example.target))
            for (offset, example), is_right in zip(examples, right, strict=True)
            if is_right
        ]


def _right(predictor: Predictor, examples: Sequence[Example]) -> npt.NDArray[np.bool_]:
    """Which examples are predicted right (N,)."""
    right: list[bool] = []
    for start in range(0, len(examples), _PREDICTED_AT_ONCE):
        batch = examples[start : start + _PREDICTED_AT_ONCE]
        predictions = predictor.predict(batch)
        right += [
            prediction.label == example.target for prediction, example in zip(predictions, batch, strict=True)
        ]
    return np.array(right, dtype=np.bool_)


def _is_better(own: PairedComparison) -> bool:
    """Whether the candidate has learned something that holds for the interval's held-back part."""
    return own.won > own.lost and float(binom.sf(own.won - 1, own.won + own.lost, 0.5)) < 0.05
