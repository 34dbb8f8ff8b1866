"""The closed-form learner: exact sums in, a solved predictor out.

Its state is the integer sums of both experts, the labels and a bounded sample. Everything else,
weights included, is derived. So learning is addition, forgetting is subtraction, merging is
addition, and the fingerprint of the state says exactly what was learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch

from everlearn.errors import ConfigError, InputError, StateError
from everlearn.learning.closed_form import saved_state
from everlearn.learning.closed_form.coding import Coder, Coding, Featurize, RecentFeatures
from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.features import FeatureMap
from everlearn.learning.closed_form.label_sets.predictor import SetPredictor
from everlearn.learning.closed_form.label_sets.solution import SetSolution
from everlearn.learning.closed_form.live.added_rows import Batch
from everlearn.learning.closed_form.live.live_ridge import LiveRidge
from everlearn.learning.closed_form.live.live_solution import LiveSolution
from everlearn.learning.closed_form.live.serving import Serving, Settled
from everlearn.learning.closed_form.packing import pack, unpack
from everlearn.learning.closed_form.predictor import ClosedFormPredictor
from everlearn.learning.closed_form.reading import Reading
from everlearn.learning.closed_form.solution import SampleScores
from everlearn.learning.closed_form.solver import Solver
from everlearn.learning.closed_form.statistics import Statistics
from everlearn.learning.run_learner import RunLearner
from everlearn.memory.hash_sample import Sampled
from everlearn.types import Example, ForgetReport, Json, Prediction, Predictor, State, StepReport

__all__ = ["ClosedFormLearner", "Coder"]


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
            coder. Default: all that is no sketch.
        sketch_size: Length of the codes' sketch of n-grams, which comes last; only without a coder.
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

    _state_kind: ClassVar[str] = "closed-form"

    def __init__(
        self,
        coder: Coder | None = None,
        config: ClosedFormConfig | None = None,
        *,
        dense_size: int | None = None,
        leading_size: int | None = None,
        sketch_size: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        if coder is None and dense_size is None:
            raise ConfigError("a ClosedFormLearner needs a coder, or dense_size where examples bring codes")
        self.config = config or ClosedFormConfig()
        self.coder = coder
        self.dense_size = coder.dense_size if coder is not None else int(dense_size or 0)
        if coder is not None and dense_size not in (None, coder.dense_size):
            raise ConfigError(f"dense_size is {dense_size}, but the coder makes codes of {coder.dense_size}")
        self.sketch_size = coder.sketch_size if coder is not None else sketch_size
        pooled_size = self.dense_size - self.sketch_size
        self.leading_size = coder.leading_size if coder is not None else leading_size or pooled_size
        self._device = torch.device(device)
        features = FeatureMap(
            self.dense_size,
            self.leading_size,
            self.sketch_size,
            self.config.num_features,
            self.config.seed,
            self._device,
        )
        self._coding = Coding(coder, self.dense_size, features, self._device)
        self._reset()

    def _reset(self) -> None:
        self._featurize = RecentFeatures(self._coding.features)
        self._statistics = self._new_statistics()
        self._serving = Serving(self._statistics, self.config, self._solver(), self._featurize)

    def _new_statistics(self) -> Statistics:
        """What was learned of nothing."""
        return Statistics(self.config, self._featurize, self._device, self._coding.sketched)

    def _solver(self) -> Solver:
        """Makes what predictions are made by of the statistics."""
        return Solver(self._statistics, self.config, self._coding, self._featurize)

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels learned and not forgotten, by name."""
        return self._statistics.labels.known

    @property
    def num_examples(self) -> int:
        """Examples that the state holds."""
        return self._statistics.labels.num_examples

    @property
    def needs_resample(self) -> bool:
        """Whether so much was forgotten that the sample lacks members; see ``resample``."""
        return not self._statistics.is_complete

    @property
    def coder_fingerprint(self) -> str | None:
        """See RunLearner."""
        return None if self.coder is None else self.coder.fingerprint

    @property
    def reads_text(self) -> bool:
        """False: it learns from codes."""
        return False

    @property
    def is_settled(self) -> bool:
        """Whether predictions use everything learned, at full size."""
        return self._serving.is_settled

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
        return self._predictor(self._serving.current, self._featurize).predict(examples)

    def refresh(self) -> None:
        """Let the next prediction use everything that was learned; ``predict`` does so itself."""
        self._serving.refresh()

    def make_ready(self) -> None:
        """See RunLearner: a solution of many examples is settled in a form that nothing can be added to."""
        self._serving.prepare()

    def frozen(self) -> ClosedFormPredictor | SetPredictor:
        """The predictor as it is now; it stays so while the learner goes on, whose sums it does not hold."""
        return self._frozen(self._serving.current)

    def snapshot(self) -> ClosedFormPredictor | SetPredictor:
        """See RunLearner: solved as ``refresh`` would, which then need not solve again."""
        return self._frozen(self._serving.snapshot())

    def packed(self, predictor: Predictor) -> State | None:
        """See RunLearner."""
        assert isinstance(predictor, ClosedFormPredictor | SetPredictor)
        if predictor.solution is None:
            return None
        packed = pack(predictor.solution)
        return State(packed.tensors, {**packed.data, "identity": self._identity()})

    def unpacked(self, state: State) -> ClosedFormPredictor | SetPredictor:
        """See RunLearner."""
        saved_state.require_same(self._identity(), state.data["identity"])
        return self._predictor(unpack(state), self._coding.features)

    def _frozen(self, solution: Settled | LiveRidge[Any] | None) -> ClosedFormPredictor | SetPredictor:
        if isinstance(solution, LiveRidge):
            solution = solution.frozen()
        return self._predictor(solution, self._coding.features)

    def _predictor(
        self, solution: Settled | LiveRidge[Any] | None, featurize: Featurize
    ) -> ClosedFormPredictor | SetPredictor:
        assert not isinstance(solution, SetSolution)
        assert solution is None or not isinstance(solution, LiveRidge) or isinstance(solution, LiveSolution)
        coding = self._coding
        reading = Reading(coding.codes, featurize, self.config.gram_bits, coding.sizes)
        return ClosedFormPredictor(solution, reading)

    def learn(self, examples: Sequence[Example]) -> StepReport:
        """Add examples to the sums. Those without target are passed over.

        Raises:
            ConfigError: More labels than ``max_classes``; nothing of the batch is learned then.
        """
        known = [(example, example.target) for example in examples if example.target is not None]
        if not known:
            return StepReport(num_learned=0, num_without_target=len(examples))
        targets = [target for _, target in known]
        new_labels = self._statistics.labels.new_within(self.config.max_classes, targets)
        codes = self._coding.codes([example for example, _ in known])
        ids = [example.id for example, _ in known]
        members = self._statistics.add(ids, targets, codes)
        self._serving.note(Batch(ids, codes, members, len(self._statistics.labels)))
        return StepReport(
            num_learned=len(known), num_without_target=len(examples) - len(known), new_labels=new_labels
        )

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
        report = self._take_out(examples)
        self._statistics.features.flush()  # nothing of them waits to be taken out
        return report

    def _take_out(self, examples: Sequence[Example]) -> ForgetReport:
        """As ``forget``; where targets are corrected, what waits to be added soon is no secret."""
        other = next((item for item in examples if not isinstance(item, Example)), None)
        if other is not None:
            raise InputError(
                f"forget takes the examples that were learned, not {type(other).__name__}: an id does not "
                "say what to subtract (a run knows: everlearn forget RUN --id ID)"
            )
        known = [(example, example.target) for example in examples if example.target is not None]
        if not known:
            return ForgetReport(num_forgotten=0)
        targets = [target for _, target in known]
        self._statistics.labels.require_held(targets)
        codes = self._coding.codes([example for example, _ in known])
        removed = self._statistics.subtract([example.id for example, _ in known], targets, codes)
        self._serving.invalidate()
        return ForgetReport(num_forgotten=len(known), removed_labels=removed)

    def correct(self, forgotten: Sequence[Example], learned: Sequence[Example]) -> StepReport:
        """Replace learned pairs by others, exactly, within a stream.

        Unlike ``forget``, it leaves the next solve to the schedule: a correction is news, not a secret.

        Raises:
            StateError: As ``forget``.
            ConfigError: As ``learn``; the old pairs are forgotten then.
        """
        self._serving.refresh()  # as before a batch: else what is due is made anew for each snapshot
        before, taken_out = self._serving.before_correction(), None
        table = self._statistics.labels
        num_classes = len(table)
        self._take_out(forgotten)
        if len(table) == num_classes:  # else classes have other numbers now
            known = [example for example in forgotten if example.target is not None]
            ids, codes = [example.id for example in known], self._coding.codes(known)
            members = table.members(str(example.target) for example in known)
            taken_out = Batch(ids, codes, members, num_classes, sign=-1)
        self._serving.go_on(before, taken_out)
        return self.learn(learned)

    def resample(self, examples: Iterable[Example]) -> None:
        """Choose the sample anew from all remaining learned examples (with codes), in any order."""
        self._statistics.resample(
            Sampled.of(example.id, example.target, example.code)
            for example in examples
            if example.target is not None and example.code is not None
        )
        self._serving.invalidate()

    def merge(self, other: ClosedFormLearner) -> None:
        """Become the learner that saw both streams; exact.

        Raises:
            ConfigError: Other sizes or another coder.
        """
        saved_state.require_same(self._identity(), other._identity())
        new_labels = self._statistics.labels.new_among(other._statistics.labels.names)
        if len(self._statistics.labels) + len(new_labels) > self.config.max_classes:
            raise ConfigError(
                f"together the learners have more labels than max_classes={self.config.max_classes}"
            )
        self._statistics.merge(other._statistics)
        self._serving.invalidate()

    def settle(self) -> None:
        """Choose settings and solve at full size, so that predictions use everything learned."""
        self.solve()

    def solve(self) -> None:
        """See ``settle``."""
        self._serving.settle()

    def sample_scores(self) -> SampleScores:
        """What is said of the sample's members, each left out: an exam of everything learned.

        Settles first. A learner must have learned something.
        """
        return self._serving.sample_scores()

    def fingerprint(self) -> str:
        """SHA-256 (hex) of what was learned: sums, labels, sample, sizes and coder.

        It does not depend on order, batches, threads, merges or device, and after ``forget`` it is that of a
        learner which never saw the forgotten examples.
        """
        return self._statistics.fingerprint(self._identity())

    def state(self) -> State:
        """What was learned, and the solved predictor, which is derived but goes on as it is."""
        tensors, data = self._statistics.to_state()
        served, described = self._serving.to_state()
        kind = {"kind": self._state_kind, "identity": self._identity()}
        return State(tensors | served, kind | data | described)

    def restore(self, state: State) -> None:
        """Replace the state by a saved one.

        Raises:
            StateError: It belongs to another kind of learner, other sizes or another coder, or its
                parts do not fit together.
        """
        data = state.data
        if data.get("kind") != self._state_kind:
            raise StateError(
                f"this state is of a learner of kind {data.get('kind')!r}, not {self._state_kind!r}"
            )
        try:
            saved_state.require_same(self._identity(), data["identity"])
        except ConfigError as error:
            raise StateError(f"the saved state does not fit this learner: {error}") from error
        self._reset()
        try:
            self._statistics.load(state.tensors, data)
            self._serving.restore(state.tensors, data, self._device)
        except (KeyError, RuntimeError, ValueError, IndexError) as error:
            self._reset()
            raise StateError(
                f"the saved state is incomplete or damaged ({error}); restore an earlier one"
            ) from error

    def _identity(self) -> dict[str, Json]:
        coder = self.coder.fingerprint if self.coder is not None else None
        sizes = {"dense_size": self.dense_size, "leading_size": self.leading_size}
        if self.sketch_size:  # identities from before there were sketches do not name it
            sizes["sketch_size"] = self.sketch_size
        return saved_state.identity(self.config.to_json(), sizes, coder)
