"""The closed-form learner: exact sums in, a solved predictor out.

Its state is the integer sums of both experts, the labels and a bounded sample. Everything else,
weights included, is derived. So learning is addition, forgetting is subtraction, merging is
addition, and the fingerprint of the state says exactly what was learned.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from everlearn.errors import ConfigError, InputError, StateError
from everlearn.learning.closed_form import saved_state
from everlearn.learning.closed_form.coding import Coder, Coding
from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.features import FeatureMap
from everlearn.learning.closed_form.gram_sums import GramSums
from everlearn.learning.closed_form.live.added_rows import AddedRows, Batch
from everlearn.learning.closed_form.live.live_solution import LiveSolution
from everlearn.learning.closed_form.live.making import FewExamples, live_of_few, live_of_sums
from everlearn.learning.closed_form.live.schedule import SolveSchedule
from everlearn.learning.closed_form.naive_bayes import CountSums, gram_matrix
from everlearn.learning.closed_form.predictor import ClosedFormPredictor
from everlearn.learning.closed_form.saved_solution import (
    solution_from_state,
    solution_to_state,
)
from everlearn.learning.closed_form.solution import (
    DueSolve,
    SampleData,
    SampleScores,
    Solution,
    score_sample,
    solve,
)
from everlearn.learning.run_learner import RunLearner
from everlearn.memory.hash_sample import HashSample, Sampled
from everlearn.types import Code, Example, ForgetReport, Json, Prediction, State, StepReport

__all__ = ["ClosedFormLearner", "Coder"]


_ROWS_AT_ONCE = 256  # of the class sums, which are large where there are many labels


class ClosedFormLearner(RunLearner):
    """Learns labels of texts (or vectors) in one pass, exactly, in any order.

    Predictions use everything that was learned, as if it had been solved; only the settings (λ, the weights
    of both experts) are chosen anew when the stream has grown. ``settle`` chooses them now. After ``settle``,
    predictions depend on the set of learned examples alone, not on their order.

    Args:
        coder: Makes codes of examples that have none; None where all examples come with codes.
        config: Sizes.
        dense_size: Length of the codes; needed only without a coder.
        leading_size: Length of the codes' most telling part, which comes first; only without a
            coder. Default: all of it.
        device: Where sums and solves live.

    Example:
        >>> import numpy as np
        >>> from everlearn.models import VectorCoder
        >>> config = ClosedFormConfig.of_size(128)
        >>> learner = ClosedFormLearner(VectorCoder(2, normalize=False), config)
        >>> points = [Example(id=str(k), vector=np.array(v), target=t) for k, (v, t) in enumerate(
        ...     [([0.0, 1.0], "up"), ([0.1, 0.9], "up"), ([1.0, 0.0], "right"), ([0.9, 0.2], "right")])]
        >>> learner.learn(points).new_labels
        ('up', 'right')
        >>> learner.settle()
        >>> learner.predict([Example(id="x", vector=np.array([0.0, 0.8]))])[0].label
        'up'
    """

    def __init__(
        self,
        coder: Coder | None = None,
        config: ClosedFormConfig | None = None,
        *,
        dense_size: int | None = None,
        leading_size: int | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if coder is None and dense_size is None:
            raise ConfigError("a ClosedFormLearner needs a coder, or dense_size where examples bring codes")
        self.config = config or ClosedFormConfig()
        self.coder = coder
        self.dense_size = coder.dense_size if coder is not None else int(dense_size or 0)
        if coder is not None and dense_size not in (None, coder.dense_size):
            raise ConfigError(f"dense_size is {dense_size}, but the coder makes codes of {coder.dense_size}")
        self.leading_size = coder.leading_size if coder is not None else leading_size or self.dense_size
        self._device = torch.device(device)
        features = FeatureMap(
            self.dense_size, self.leading_size, self.config.num_features, self.config.seed, self._device
        )
        self._coding = Coding(coder, self.dense_size, features, self._device)
        self._reset()

    def _reset(self) -> None:
        self._classes: list[str] = []
        self._class_of: dict[str, int] = {}
        self._labels: tuple[str, ...] | None = None
        self._sums = GramSums(self.config.num_features, self.config.gather, self._device)
        self._counts = CountSums(self.config.gram_bits, self.config.gather)
        self._sample = HashSample(self.config.sample_size)
        self._solution: Solution | None = None  # where it is settled
        self._live: LiveSolution | None = None  # where it is not
        self._ahead: LiveSolution | None = None  # what the next solve will come to, where it was asked for
        self._rows = AddedRows()
        self._schedule = SolveSchedule(self.config)
        self._recent: tuple[Sequence[Code], torch.Tensor] = ((), torch.empty(0, dtype=torch.int8))

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels learned and not forgotten, by name."""
        if self._labels is None:  # sorted once, not at each batch
            self._labels = tuple(sorted(self._classes))
        return self._labels

    @property
    def num_examples(self) -> int:
        """Examples that the state holds."""
        return self._sums.num_examples

    @property
    def needs_resample(self) -> bool:
        """Whether so much was forgotten that the sample lacks members; see ``resample``."""
        return not self._sample.is_complete

    @property
    def reads_text(self) -> bool:
        """False: it learns from codes."""
        return False

    @property
    def is_settled(self) -> bool:
        """Whether predictions use everything learned, at full size."""
        return self._solution is not None or not self._classes

    def reading_problem(self, example: Example) -> str | None:
        """Why an example cannot be read; None: it can."""
        return self._coding.reading_problem(example)

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        """The examples with codes; codes are computed once, for those that have none."""
        return self._coding.prepare(examples)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predict without learning; label None while nothing is learned."""
        if not examples:
            return []
        self.refresh()
        return ClosedFormPredictor(
            self._solution or self._live, self.config.gram_bits, self._coding.codes, self._featurize
        ).predict(examples)

    def frozen(self) -> ClosedFormPredictor:
        """The predictor as it is now; it stays so while the learner goes on, whose sums it does not hold."""
        return self._frozen(self._solution or self._live)

    def snapshot(self) -> ClosedFormPredictor:
        """See RunLearner: solved as ``refresh`` would, which then need not solve again."""
        due = self._due()
        if due is None:
            return self._frozen(self._solution or self._live)
        if self._ahead is None:
            self._ahead = self._made(due)
        return self._frozen(self._ahead)

    def _frozen(self, solution: Solution | LiveSolution | None) -> ClosedFormPredictor:
        if isinstance(solution, LiveSolution):
            solution = solution.frozen()
        coding = self._coding
        return ClosedFormPredictor(solution, self.config.gram_bits, coding.codes, coding.features)

    def learn(self, examples: Sequence[Example]) -> StepReport:
        """Add examples to the sums. Those without target are passed over.

        Raises:
            ConfigError: More labels than ``max_classes``; nothing of the batch is learned then.
        """
        targets = [(example, example.target) for example in examples if example.target is not None]
        skipped = len(examples) - len(targets)
        if not targets:
            return StepReport(num_learned=0, num_without_target=skipped)
        labels = [target for _, target in targets]
        new_labels = tuple(dict.fromkeys(label for label in labels if label not in self._class_of))
        if len(self._classes) + len(new_labels) > self.config.max_classes:
            raise ConfigError(
                f"label {new_labels[-1]!r} would be one more than max_classes={self.config.max_classes}; "
                "raise it, or check that the target field holds labels and not free text"
            )
        codes = self._coding.codes([example for example, _ in targets])
        for label in new_labels:
            self._class_of[label] = len(self._classes)
            self._classes.append(label)
            self._labels = None
        classes_B = self._class_rows(labels)
        self._sums.add(self._featurize(codes), torch.from_numpy(classes_B), len(self._classes))
        self._counts.add(codes, classes_B, len(self._classes))
        ids = [example.id for example, _ in targets]
        self._sample.add(ids, labels, codes)
        self._note(Batch(ids, codes, classes_B, len(self._classes)))
        return StepReport(num_learned=len(targets), num_without_target=skipped, new_labels=new_labels)

    def forget(self, examples: Sequence[Example]) -> ForgetReport:
        """Take learned examples out, exactly: the sums become those of a run that never saw them.

        The examples must be the learned ones (same code, same target): what was not added cannot be
        subtracted. If ``needs_resample`` is true afterwards, call ``resample`` with the remaining
        examples before predicting.

        Raises:
            InputError: Something is no example: ids alone do not say what to subtract.
            StateError: An example has a label that was never learned, or more examples of a label
                are to be forgotten than were learned. Nothing is changed then.
        """
        other = next((item for item in examples if not isinstance(item, Example)), None)
        if other is not None:
            raise InputError(
                f"forget takes the examples that were learned, not {type(other).__name__}: an id does not "
                "say what to subtract (a run knows: everlearn forget RUN --id ID)"
            )
        known = [(example, example.target) for example in examples if example.target is not None]
        if not known:
            return ForgetReport(num_forgotten=0)
        labels = [target for _, target in known]
        unknown = next((label for label in labels if label not in self._class_of), None)
        if unknown is not None:
            raise StateError(f"cannot forget examples of label {unknown!r}: no such label was learned")
        classes_B = self._class_rows(labels)
        remaining = self._sums.class_counts_C - torch.bincount(
            torch.from_numpy(classes_B), minlength=len(self._classes)
        )
        if bool((remaining < 0).any()):
            label = self._classes[int(remaining.argmin())]
            raise StateError(f"cannot forget more examples of label {label!r} than were learned")
        codes = self._coding.codes([example for example, _ in known])
        self._sums.subtract(self._featurize(codes), torch.from_numpy(classes_B))
        self._counts.subtract(codes, classes_B)
        self._sample.remove([example.id for example, _ in known], labels)
        removed = tuple(self._classes[k] for k in range(len(self._classes)) if int(remaining[k]) == 0)
        if removed:
            kept = [k for k in range(len(self._classes)) if int(remaining[k]) > 0]
            self._sums.keep_classes(kept)
            self._counts.keep_classes(kept)
            self._classes = [self._classes[k] for k in kept]
            self._labels = None
            self._class_of = {label: k for k, label in enumerate(self._classes)}
        self._invalidate()
        return ForgetReport(num_forgotten=len(known), removed_labels=removed)

    def correct(self, forgotten: Sequence[Example], learned: Sequence[Example]) -> StepReport:
        """Replace learned pairs by others, exactly, within a stream.

        Unlike ``forget``, it leaves the next solve to the schedule: a correction is news, not a secret.

        Raises:
            StateError: As ``forget``.
            ConfigError: As ``learn``; the old pairs are forgotten then.
        """
        live, schedule, rows = self._live, self._schedule, self._rows
        num_classes = len(self._classes)
        self.forget(forgotten)
        self._schedule = schedule  # a correction is news, not a secret
        # Of few examples a solution is made anew at once, and so it is where classes got other numbers.
        if live is not None and not self._is_few and num_classes == len(self._classes):
            self._live, self._rows = live, rows
            known = [example for example in forgotten if example.target is not None]
            ids = [example.id for example in known]
            classes_B = self._class_rows([str(example.target) for example in known])
            self._note(Batch(ids, self._coding.codes(known), classes_B, num_classes, sign=-1))
        return self.learn(learned)

    def resample(self, examples: Iterable[Example]) -> None:
        """Choose the sample anew from all remaining learned examples (with codes), in any order."""
        self._sample.rebuild(
            Sampled.of(example.id, example.target, example.code)
            for example in examples
            if example.target is not None and example.code is not None
        )
        self._invalidate()

    def merge(self, other: ClosedFormLearner) -> None:
        """Become the learner that saw both streams; exact.

        Raises:
            ConfigError: Other sizes or another coder.
        """
        saved_state.require_same(self._identity(), other._identity())
        new_labels = [label for label in other._classes if label not in self._class_of]
        if len(self._classes) + len(new_labels) > self.config.max_classes:
            raise ConfigError(
                f"together the learners have more labels than max_classes={self.config.max_classes}"
            )
        for label in new_labels:
            self._class_of[label] = len(self._classes)
            self._classes.append(label)
            self._labels = None
        class_of_other = [self._class_of[label] for label in other._classes]
        self._sums.merge(other._sums, class_of_other, len(self._classes))
        self._counts.merge(other._counts, class_of_other, len(self._classes))
        self._sample.merge(other._sample)
        self._invalidate()

    def settle(self) -> None:
        """Choose settings and solve at full size, so that predictions use everything learned."""
        self.solve()

    def solve(self) -> None:
        """See ``settle``."""
        if self._solution is not None or not self._classes:
            return
        self._live = self._ahead = None  # its memory is needed
        self._rows = AddedRows()
        self._solution = solve(self._sums, self._counts, self._classes, self._sample_data, self.config)
        self._schedule.note(DueSolve(), self._solution.settings, self.num_examples, len(self._classes))

    def sample_scores(self) -> SampleScores:
        """What is said of the sample's members, each left out: an exam of everything learned.

        Settles first. A learner must have learned something.
        """
        self.settle()
        assert self._solution is not None, "nothing was learned"
        return score_sample(
            self._sums,
            self._counts,
            self._classes,
            [member.id for member in self._sample],
            self._sample_data(self.config.sample_size),
            self.config,
            self._solution.settings,
        )

    def fingerprint(self) -> str:
        """SHA-256 (hex) of what was learned: sums, labels, sample, sizes and coder.

        It does not depend on order, batches, threads, merges or device, and after ``forget`` it is
        that of a learner which never saw the forgotten examples.
        """
        digest = hashlib.sha256()
        identity = self._identity()
        digest.update(json.dumps(identity, sort_keys=True).encode())
        order = sorted(range(len(self._classes)), key=lambda k: self._classes[k])
        digest.update(json.dumps([self._classes[k] for k in order]).encode())
        for panel in self._sums.panels():
            digest.update(panel.cpu().numpy().data)
        class_sums = self._sums.class_sums()
        for start in range(0, len(order), _ROWS_AT_ONCE):
            digest.update(class_sums[order[start : start + _ROWS_AT_ONCE]].cpu().numpy().data)
        digest.update(self._sums.class_counts_C[order].numpy().tobytes())
        counts = self._counts.sums()[order]
        for array in (counts.indptr, counts.indices, counts.data):
            digest.update(np.ascontiguousarray(array, dtype="<i8").data)
        for member in self._sample:
            digest.update(json.dumps([member.id, member.label]).encode())
            digest.update(member.code.dense.tobytes())
            digest.update(member.code.gram_ids.astype("<u4").tobytes())
            digest.update(member.code.gram_values.tobytes())
        return digest.hexdigest()

    def state(self) -> State:
        """Sums, labels and sample, and the solved predictor, which is derived but goes on as it is."""
        tensors = {f"sums.{name}": tensor for name, tensor in self._sums.tensors().items()}
        tensors |= saved_state.counts_to_tensors(self._counts.sums())
        sample_tensors, sample_data = saved_state.sample_to_state(self._sample)
        data: dict[str, Json] = {
            "kind": "closed-form",
            "identity": self._identity(),
            "labels": list(self._classes),
            "sample": sample_data,
            "is_settled": self._solution is not None,
            "schedule": self._schedule.to_json(),
            "solution": None,
            "live": None,
        }
        if self._solution is not None:
            solved, data["solution"] = solution_to_state(self._solution)
            tensors |= {f"solution.{name}": tensor for name, tensor in solved.items()}
        if self._live is not None:
            rows, described = self._rows.to_state()
            data["live"] = described
            tensors |= rows
        return State(tensors | sample_tensors, data)

    def restore(self, state: State) -> None:
        """Replace the state by a saved one.

        Raises:
            StateError: It belongs to another kind of learner, other sizes or another coder, or its
                parts do not fit together.
        """
        data = state.data
        if data.get("kind") != "closed-form":
            raise StateError(f"this state is of a learner of kind {data.get('kind')!r}, not 'closed-form'")
        try:
            saved_state.require_same(self._identity(), data["identity"])
        except ConfigError as error:
            raise StateError(f"the saved state does not fit this learner: {error}") from error
        self._reset()
        try:
            self._classes = [str(label) for label in data["labels"]]
            self._class_of = {label: k for k, label in enumerate(self._classes)}
            self._sums.load(
                {
                    name.removeprefix("sums."): t
                    for name, t in state.tensors.items()
                    if name.startswith("sums.")
                }
            )
            self._counts.load(
                saved_state.counts_from_tensors(state.tensors, len(self._classes), self.config.gram_bits)
            )
            saved_state.sample_from_state(self._sample, state.tensors, data["sample"])
            solution, live = None, data.get("live")
            if data["solution"] is not None:
                solved = {
                    name.removeprefix("solution."): tensor
                    for name, tensor in state.tensors.items()
                    if name.startswith("solution.")
                }
                solution = solution_from_state(solved, data["solution"], self._device)
            self._schedule.restore(data["schedule"], None if solution is None else solution.settings)
            # In an earlier format a solution might be behind what was learned since.
            self._solution = solution if data.get("is_settled", True) else None
            if live is not None:
                self._make_again(AddedRows.from_state(state.tensors, live), live["num_added"])
        except (KeyError, RuntimeError, ValueError, IndexError) as error:
            self._reset()
            raise StateError(
                f"the saved state is incomplete or damaged ({error}); restore an earlier one"
            ) from error

    def _identity(self) -> dict[str, Json]:
        config = {k: v for k, v in self.config.to_json().items() if k in saved_state.IDENTITY_FIELDS}
        return {
            "format": saved_state.FORMAT_VERSION,
            "dense_size": self.dense_size,
            "leading_size": self.leading_size,
            "coder": self.coder.fingerprint if self.coder is not None else None,
            **config,
        }

    def refresh(self) -> None:
        """Let the next prediction use everything that was learned; ``predict`` does so itself."""
        due = self._due()
        if due is None:
            return
        ahead, self._ahead, self._live = self._ahead, None, None  # their memory is needed for the next
        self._live = self._made(due) if ahead is None else ahead
        self._rows = AddedRows(len(self._classes), self._is_few)
        self._schedule.note(due, self._live.settings, self.num_examples, len(self._classes))

    def _due(self) -> DueSolve | None:
        """The solve that the next prediction needs; None: the predictor that there is has everything now."""
        if self.is_settled:
            return None
        can_go_on = self._live is not None and self._rows.is_few == self._is_few
        num_rows = self._rows.num_rows if can_go_on else None
        due = self._schedule.due(self.num_examples, len(self._classes), num_rows)
        if due is None and not self._add_rows():
            return self._schedule.due(self.num_examples, len(self._classes), None)
        return due

    def _add_rows(self) -> bool:
        """Add what is pending to the live predictor; False: it cannot go on."""
        assert self._live is not None
        rows = self._rows
        while rows.pending:
            batch = rows.pending[0]
            if not self._live.add(
                self._featurize(batch.codes),
                gram_matrix(batch.codes, self.config.gram_bits),
                batch.classes_B,
                self._classes[: batch.num_classes],
                batch.sign,
            ):
                return False
            rows.added.append(rows.pending.pop(0))
        return True

    def _note(self, batch: Batch) -> None:
        """Something was learned or taken out: the predictor is to get it before the next prediction."""
        self._solution = self._ahead = None
        if self._live is not None:
            self._rows.pending.append(batch)

    @property
    def _is_few(self) -> bool:
        """Whether the sample holds every example, so that nothing as large as the sums need be solved."""
        return self._sample.has_all and self._sample.num_held == self.num_examples

    def _made(self, due: DueSolve) -> LiveSolution:
        """A live predictor that has everything now."""
        if self._is_few:
            few = self._few(self._sample.members())
            return live_of_few(few, self._counts, self._classes, self.config, due)
        return live_of_sums(self._sums, self._counts, self._classes, self._sample_data, self.config, due)

    def _few(self, members: Sequence[Sampled]) -> FewExamples:
        codes = [member.code for member in members]
        classes_N = self._class_rows([member.label for member in members])
        return FewExamples(self._coding.features(codes), gram_matrix(codes, self.config.gram_bits), classes_N)

    def _make_again(self, rows: AddedRows, num_added: int) -> None:
        """The live predictor as it was: without what was added since, which is added again."""
        due, labels = DueSolve(keep=self._schedule.settings), self._classes[: rows.num_classes]
        for batch in rows.all():
            self._count(batch, -batch.sign)
        if rows.is_few:
            few = self._few(rows.without(self._sample.members()))
            self._live = live_of_few(few, self._counts, labels, self.config, due)
        else:
            self._live = live_of_sums(self._sums, self._counts, labels, self._sample_data, self.config, due)
        for batch in rows.all():
            self._count(batch, batch.sign)
        self._rows = rows
        pending, rows.pending = rows.pending[num_added:], rows.pending[:num_added]
        self._add_rows()
        rows.pending = pending

    def _count(self, batch: Batch, sign: int) -> None:
        """Add a batch to the sums, or take it out, and nothing else."""
        features, classes_B = self._coding.features(batch.codes), batch.classes_B
        if sign > 0:
            self._sums.add(features, torch.from_numpy(classes_B), len(self._classes))
            self._counts.add(batch.codes, classes_B, len(self._classes))
        else:
            self._sums.subtract(features, torch.from_numpy(classes_B))
            self._counts.subtract(batch.codes, classes_B)

    def _sample_data(self, num_members: int) -> SampleData:
        members = list(self._sample)[:num_members]
        codes = [member.code for member in members]
        return SampleData(
            self._featurize(codes),
            gram_matrix(codes, self.config.gram_bits),
            [member.label for member in members],
        )

    def _invalidate(self) -> None:
        self._solution = self._live = self._ahead = None
        self._rows = AddedRows()
        self._schedule = SolveSchedule(self.config)

    def _featurize(self, codes: Sequence[Code]) -> torch.Tensor:
        """int8 features (B, M). A batch is predicted, then learned: the last one's features are kept."""
        known, features = self._recent
        if len(known) == len(codes) and all(a is b for a, b in zip(known, codes, strict=True)):
            return features
        features = self._coding.features(codes)
        self._recent = (codes, features)
        return features

    def _class_rows(self, labels: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.array([self._class_of[label] for label in labels], dtype=np.int64)
