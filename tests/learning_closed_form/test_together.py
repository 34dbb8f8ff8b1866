"""Predictors asked at once say to the bit what each says by itself."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sharing.test_packed_predictors import Learner, examples_of, new_learner, said

from everlearn.learning.closed_form.label_sets.learner import LabelSetLearner
from everlearn.learning.closed_form.learner import ClosedFormLearner
from everlearn.learning.closed_form.together import predict_each
from everlearn.types import Example, Prediction, Predictor


class Given:
    """Says what it is given."""

    def __init__(self, predictions: list[Prediction]) -> None:
        self._predictions = predictions

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        assert len(examples) == len(self._predictions)
        return self._predictions


def learner_of(kind: type[Learner], sizes: tuple[int, int], num: int, *, settled: bool) -> Learner:
    learner = new_learner(kind, *sizes)
    if num:
        learner.learn(examples_of(kind, num, seed=num))
    if settled:
        learner.settle()
    return learner


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([ClosedFormLearner, LabelSetLearner]),
            st.sampled_from([(64, 16), (64, 700), (128, 16)]),
            st.sampled_from([0, 5, 40, 90]),
            st.booleans(),
            st.integers(0, 3),
        ),
        max_size=6,
    )
)
def test_it_is_what_each_says(drawn: list[tuple[type[Learner], tuple[int, int], int, bool, int]]) -> None:
    asked: list[tuple[Predictor, list[Example]]] = []
    for place, (kind, sizes, num, settled, num_asked) in enumerate(drawn):
        predictor = learner_of(kind, sizes, num, settled=settled).snapshot()
        asked.append((predictor, examples_of(kind, 4, seed=place)[:num_asked]))
    together = predict_each(asked)
    assert [len(one) for one in together] == [len(examples) for _, examples in asked]
    for (one, examples), predictions in zip(asked, together, strict=True):
        assert said(Given(predictions), examples) == said(one, examples)
