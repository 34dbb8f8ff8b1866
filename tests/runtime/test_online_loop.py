from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from everlearn.runtime.loop.online_loop import OnlineLoop
from everlearn.tasks.batch_result import BatchResult
from everlearn.types import Example, ForgetReport, Prediction, State, StepReport


class NearestMean:
    """Predicts the label whose mean vector is nearest; counts calls to see their order."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[np.ndarray, int]] = {}
        self.calls: list[tuple[str, list[str]]] = []

    def prepare(self, examples: Sequence[Example]) -> Sequence[Example]:
        self.calls.append(("prepare", [example.id for example in examples]))
        return examples

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        self.calls.append(("predict", [example.id for example in examples]))
        labels = tuple(self.sums)
        if not labels:
            return [Prediction(None, (), np.empty(0)) for _ in examples]
        means = np.stack([total / count for total, count in self.sums.values()])
        predictions = []
        for example in examples:
            assert example.vector is not None
            best = int(np.argmin(((means - example.vector) ** 2).sum(axis=1)))
            predictions.append(Prediction(labels[best], labels, np.eye(len(labels))[best]))
        return predictions

    def learn(self, examples: Sequence[Example]) -> StepReport:
        self.calls.append(("learn", [example.id for example in examples]))
        for example in examples:
            assert example.target is not None
            assert example.vector is not None
            total, count = self.sums.get(example.target, (np.zeros(2), 0))
            self.sums[example.target] = (total + example.vector, count + 1)
        return StepReport(num_learned=len(examples))

    def forget(self, examples: Sequence[Example]) -> ForgetReport:
        return ForgetReport(num_forgotten=0)

    def state(self) -> State:
        return State({}, {})

    def restore(self, state: State) -> None:
        raise NotImplementedError


def stream(count: int) -> list[Example]:
    corners = {"north": (0.0, 1.0), "east": (1.0, 0.0)}
    return [
        Example(id=str(k), target=label, vector=np.array(corners[label]))
        for k, label in enumerate(("north", "east") * (count // 2))
    ]


def test_every_batch_is_predicted_before_it_is_learned() -> None:
    learner, results = NearestMean(), list[BatchResult]()
    loop = OnlineLoop(learner, observers=[results.append])
    examples = stream(6)
    loop.step(examples[:2])
    loop.step(examples[2:])
    assert [name for name, _ in learner.calls] == ["prepare", "predict", "learn"] * 2
    assert [p.label for p in results[0].predictions] == [None, None]
    assert [p.label for p in results[1].predictions] == ["north", "east"] * 2
    assert loop.clock.seconds["learn"] > 0


@pytest.mark.parametrize("delay", [0, 1, 3, 100])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_with_delay_a_target_is_learned_only_after_as_many_predictions(delay: int, batch_size: int) -> None:
    learner = NearestMean()
    loop = OnlineLoop(learner, delay=delay)
    examples = stream(12)
    for start in range(0, 12, batch_size):
        loop.step(examples[start : start + batch_size])
    loop.finish()
    predicted = 0
    learned: list[str] = []
    for name, ids in learner.calls:
        if name == "predict":
            predicted += len(ids)
        elif name == "learn":
            learned += ids
            if predicted < 12:
                assert len(learned) == max(0, predicted - delay)
    assert learned == [example.id for example in examples]
    assert len(loop.pending) == 0
