"""What predictions are made by, packed, mapped and taken up by another learner: the same to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.learning_closed_form.synthetic_codes import DENSE_SIZE, make_examples
from tests.learning_label_sets.set_examples import make_sets

from everlearn.errors import ConfigError
from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.label_sets.learner import LabelSetLearner
from everlearn.learning.closed_form.learner import ClosedFormLearner
from everlearn.learning.closed_form.live import schedule
from everlearn.sharing.weight_file import map_weights, write_weights
from everlearn.types import Example, Predictor, State

Learner = ClosedFormLearner | LabelSetLearner


def new_learner(kind: type[Learner], num_features: int, sample_size: int) -> Learner:
    config = ClosedFormConfig.of_size(num_features, gram_bits=12, sample_size=sample_size, gather=64)
    return kind(dense_size=DENSE_SIZE, config=config)


def examples_of(kind: type[Learner], num: int, seed: int = 0) -> list[Example]:
    return make_sets(num, seed=seed) if kind is LabelSetLearner else make_examples(num, seed=seed)


def through_a_file(state: State, path: Path) -> State:
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        write_weights(file, state.tensors, state.data)
    mapped = map_weights(path)
    assert mapped.verify()
    return State(mapped.tensors, mapped.about)


def said(predictor: Predictor, queries: list[Example]) -> list[tuple[object, ...]]:
    return [
        (one.label, one.labels, one.probabilities.tobytes(), one.outlier_score, one.is_outlier)
        for one in predictor.predict(queries)
    ]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_it_says_the_same_to_the_bit(
    data: st.DataObject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settled or live, of few or of many, of labels or of sets, with rows behind a base and without."""
    monkeypatch.setattr(schedule, "MOST_ROWS", 400)
    kind = data.draw(st.sampled_from([ClosedFormLearner, LabelSetLearner]))
    sizes = data.draw(st.sampled_from([(64, 16), (64, 700), (700, 700)]))
    learner, other = new_learner(kind, *sizes), new_learner(kind, *sizes)
    examples, queries = examples_of(kind, 600), examples_of(kind, 7, seed=1)
    start = 0
    for num in data.draw(st.lists(st.sampled_from([1, 16, 90, 300]), min_size=1, max_size=4)):
        learner.learn(examples[start : start + num])
        start += num
        if data.draw(st.booleans()):
            learner.predict(queries[:2])
        if data.draw(st.integers(0, 3)) == 0:
            learner.forget(examples[start - 1 : start])
            learner.learn(examples[start - 1 : start])
    if data.draw(st.booleans()):
        learner.settle()
    snapshot = learner.snapshot()
    packed = learner.packed(snapshot)
    assert packed is not None
    again = other.unpacked(through_a_file(packed, tmp_path / "head"))
    assert said(again, queries) == said(snapshot, queries)
    assert said(again, queries[:1]) == said(snapshot, queries[:1])
    twice = other.packed(again)
    assert twice is not None
    assert said(other.unpacked(twice), queries) == said(snapshot, queries)


def test_of_nothing_nothing_is_packed() -> None:
    learner = new_learner(ClosedFormLearner, 64, 32)
    assert learner.packed(learner.snapshot()) is None


def test_buffers_have_no_room_to_spare(tmp_path: Path) -> None:
    """Of 300 examples: products with each other, and features; not what a buffer may grow to."""
    learner = new_learner(ClosedFormLearner, 512, 2048)
    examples = make_examples(300)
    for start in range(0, 300, 10):
        learner.learn(examples[start : start + 10])
        learner.predict(examples[:1])
    packed = learner.packed(learner.snapshot())
    assert packed is not None
    size = sum(tensor.nbytes for tensor in packed.tensors.values())
    assert size < 300 * (512 + 2 * 8 * 300) + 200_000


def test_another_learners_is_refused() -> None:
    learner = new_learner(ClosedFormLearner, 64, 32)
    learner.learn(make_examples(20))
    packed = learner.packed(learner.snapshot())
    assert packed is not None
    with pytest.raises(ConfigError, match="num_features"):
        new_learner(ClosedFormLearner, 128, 32).unpacked(packed)
    with pytest.raises(ConfigError, match="targets"):
        new_learner(LabelSetLearner, 64, 32).unpacked(packed)


def test_only_known_parts_are_made() -> None:
    """What a file says makes no other objects."""
    learner = new_learner(ClosedFormLearner, 64, 32)
    learner.learn(make_examples(20))
    packed = learner.packed(learner.snapshot())
    assert packed is not None
    for odd in ({"object": "Popen", "parts": {}}, {"call": "exit"}):
        with pytest.raises((KeyError, ValueError)):
            learner.unpacked(State(packed.tensors, {**packed.data, "solution": odd}))


def test_learning_goes_on_beside_it(tmp_path: Path) -> None:
    """What was taken up stays as it was when the learner that it came from learns, and its file goes."""
    learner = new_learner(ClosedFormLearner, 64, 200)
    examples, queries = make_examples(120), make_examples(9, seed=1)
    learner.learn(examples[:60])
    packed = learner.packed(learner.snapshot())
    assert packed is not None
    again = new_learner(ClosedFormLearner, 64, 200).unpacked(through_a_file(packed, tmp_path / "head"))
    before = said(again, queries)
    (tmp_path / "head").unlink()
    learner.learn(examples[60:])
    learner.predict(queries)
    assert said(again, queries) == before
    assert not np.array_equal(
        learner.predict(queries)[0].probabilities, again.predict(queries)[0].probabilities
    )
