"""The sample of texts is a function of the set of examples, like the smaller one it goes with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.learning_closed_form.synthetic_codes import DENSE_SIZE, make_examples

from everlearn.learning import ClosedFormConfig, ClosedFormLearner
from everlearn.types import Example, State

# 4 examples are used and 8 held; of texts 64 are used and 80 held.
CONFIG = ClosedFormConfig.of_size(64, gram_bits=10, sample_size=16, gather=7)
STREAM = make_examples(600, num_classes=4)


def learner_of(examples: Sequence[Example], batch: int = 50) -> ClosedFormLearner:
    learner = ClosedFormLearner(dense_size=DENSE_SIZE, config=CONFIG)
    for start in range(0, len(examples), batch):
        learner.learn(examples[start : start + batch])
    return learner


def texts_of(learner: ClosedFormLearner) -> list[tuple[str, str, bytes]]:
    texts = learner._statistics.texts
    assert texts is not None
    return [(one.id, one.label, one.code.gram_ids.tobytes()) for one in texts]


@settings(max_examples=40, deadline=None)
@given(
    order=st.permutations(range(400)),
    num=st.integers(1, 400),
    cut=st.integers(0, 400),
    gone=st.integers(0, 400),
    batch=st.integers(3, 200),
)
def test_however_it_came_about(order: list[int], num: int, cut: int, gone: int, batch: int) -> None:
    """In any order, merged, with some forgotten: the same texts, hence the same fingerprint."""
    examples = [STREAM[k] for k in order[:num]]
    merged = learner_of(examples[:cut], batch)
    merged.merge(learner_of(examples[cut:], batch))
    assert texts_of(merged) == texts_of(learner_of([STREAM[k] for k in sorted(order[:num])]))
    merged.forget(examples[:gone])
    left = examples[gone:]
    if merged.needs_resample:
        merged.resample(left)
    assert texts_of(merged) == texts_of(learner_of(left))
    assert merged.fingerprint() == learner_of(left).fingerprint()


def test_it_is_saved_and_bounded() -> None:
    learner = learner_of(STREAM)
    texts = learner._statistics.texts
    assert texts is not None
    assert len(texts.members()) <= 20 * 16
    assert all(not len(one.code.dense) for one in texts.members())
    again = ClosedFormLearner(dense_size=DENSE_SIZE, config=CONFIG)
    state = learner.state()
    again.restore(State(state.tensors, state.data))
    assert texts_of(again) == texts_of(learner)
    assert again.fingerprint() == learner.fingerprint()


def test_what_words_alone_tell_is_learned() -> None:
    """Of texts whose vectors say nothing: better than with naive Bayes alone, of few and of many."""
    rng = np.random.default_rng(0)
    examples = []
    for one in STREAM:
        assert one.code is not None
        noise = rng.integers(-60, 60, size=DENSE_SIZE).astype(np.int8)
        examples.append(replace(one, code=replace(one.code, dense=noise)))

    def rights(word_ridge: bool) -> list[bool]:
        config = CONFIG.model_copy(update={"word_ridge": word_ridge})
        learner = ClosedFormLearner(dense_size=DENSE_SIZE, config=config)
        right: list[bool] = []
        for start in range(0, 600, 20):
            batch = examples[start : start + 20]
            right += [p.label == one.target for p, one in zip(learner.predict(batch), batch, strict=True)]
            learner.learn(batch)
        return right

    assert np.mean(rights(True)) > np.mean(rights(False)) + 0.02
