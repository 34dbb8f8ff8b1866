from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.learning_closed_form.synthetic_codes import DENSE_SIZE, make_examples

from everlearn.errors import ConfigError, StateError
from everlearn.learning import ClosedFormConfig, ClosedFormLearner
from everlearn.types import Code, Example, Learner, State

CONFIG = ClosedFormConfig.of_size(128, gram_bits=12, sample_size=64, gather=50)


def learned(
    examples: Sequence[Example], batch: int = 16, config: ClosedFormConfig = CONFIG
) -> ClosedFormLearner:
    learner = ClosedFormLearner(dense_size=DENSE_SIZE, config=config)
    for start in range(0, len(examples), batch):
        learner.learn(examples[start : start + batch])
    return learner


def settled_probabilities(learner: ClosedFormLearner, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    learner.settle()
    return np.stack([p.probabilities for p in learner.predict(examples)])


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6), batch=st.integers(1, 97), gather=st.integers(1, 200), parts=st.integers(1, 4)
)
def test_order_batches_and_merging_do_not_change_a_bit(
    seed: int, batch: int, gather: int, parts: int
) -> None:
    examples = make_examples(300)
    reference = learned(examples)
    shuffled = random.Random(seed).sample(examples, len(examples))
    config = ClosedFormConfig.of_size(128, gram_bits=12, sample_size=64, gather=gather)
    learners = [learned(shuffled[k::parts], batch, config) for k in range(parts)]
    for other in learners[1:]:
        learners[0].merge(other)
    assert learners[0].fingerprint() == reference.fingerprint()
    test = make_examples(20, seed=1)
    np.testing.assert_array_equal(
        settled_probabilities(learners[0], test), settled_probabilities(reference, test)
    )


def test_threads_do_not_change_a_bit() -> None:
    before = torch.get_num_threads()
    prints = set()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            prints.add(learned(make_examples(300)).fingerprint())
    finally:
        torch.set_num_threads(before)
    assert len(prints) == 1


def test_the_fingerprint_tells_apart_what_was_learned() -> None:
    examples = make_examples(100)
    base = learned(examples).fingerprint()
    assert learned(examples[:99]).fingerprint() != base
    assert learned([*examples[:99], examples[99].with_target("c4x")]).fingerprint() != base
    other_seed = ClosedFormConfig.of_size(128, gram_bits=12, sample_size=64, seed=1)
    assert learned(examples, config=other_seed).fingerprint() != base


@settings(max_examples=15, deadline=None)
@given(st.sets(st.integers(0, 299), max_size=280), st.integers(0, 100))
def test_forgetting_is_never_having_seen(gone: set[int], seed: int) -> None:
    examples = make_examples(300)
    random.Random(seed).shuffle(examples)
    learner = learned(examples)
    learner.predict(examples[:3])
    report = learner.forget([examples[k] for k in gone])
    left = [example for k, example in enumerate(examples) if k not in gone]
    if learner.needs_resample:
        learner.resample(left)
    fresh = learned(left)
    assert report.num_forgotten == len(gone)
    assert learner.num_examples == len(left)
    assert learner.labels == fresh.labels
    assert learner.fingerprint() == fresh.fingerprint()
    test = make_examples(10, seed=1)
    np.testing.assert_array_equal(settled_probabilities(learner, test), settled_probabilities(fresh, test))


def test_a_forgotten_label_is_gone() -> None:
    examples = make_examples(120)
    learner = learned(examples)
    report = learner.forget([e for e in examples if e.target == "c2"])
    assert report.removed_labels == ("c2",)
    assert learner.labels == ("c0", "c1", "c3", "c4")
    learner.settle()
    assert all(p.labels == learner.labels for p in learner.predict(examples[:3]))


def test_it_learns_and_knows_how_sure_it_is() -> None:
    examples = make_examples(2000, noise=1.5)
    learner = learned(examples)
    learner.settle()
    test = make_examples(2500, noise=1.5)[2000:]
    predictions = learner.predict(test)
    correct = np.array([p.label == e.target for p, e in zip(predictions, test, strict=True)])
    confidence = np.array([p.confidence for p in predictions])
    assert correct.mean() > 0.9
    assert confidence.mean() == pytest.approx(correct.mean(), abs=0.04)


def test_inputs_unlike_the_stream_are_flagged() -> None:
    learner = learned(make_examples(3000, noise=0.3))
    learner.settle()
    rng = np.random.default_rng(9)
    none = np.zeros(0, np.uint32), np.zeros(0, np.uint8)
    strange = [
        Example(id=f"s{k}", code=Code(rng.integers(-127, 128, DENSE_SIZE).astype(np.int8), *none))
        for k in range(100)
    ]
    alike = make_examples(3300, noise=0.3)[3000:]
    assert np.mean([p.is_outlier for p in learner.predict(strange)]) > 0.95
    assert np.mean([p.is_outlier for p in learner.predict(alike)]) < 0.12


def test_labels_that_appear_are_predicted_in_the_next_batch() -> None:
    examples = make_examples(600, noise=0.3)
    old = [e for e in examples if e.target != "c4"]
    new = [e for e in examples if e.target == "c4"]
    learner = learned(old)
    learner.predict(old[:1])
    report = learner.learn(new[:40])
    assert report.new_labels == ("c4",)
    assert np.mean([p.label == "c4" for p in learner.predict(new[40:])]) > 0.9


def test_nothing_learned_predicts_nothing() -> None:
    learner = ClosedFormLearner(dense_size=DENSE_SIZE, config=CONFIG)
    prediction = learner.predict(make_examples(1))[0]
    assert prediction.label is None
    assert prediction.confidence == 0.0
    assert learner.predict([]) == []
    learner.settle()
    assert learner.fingerprint() == ClosedFormLearner(dense_size=DENSE_SIZE, config=CONFIG).fingerprint()


@pytest.mark.parametrize("num", [1, 2, 3])
def test_very_few_examples_and_one_label_are_fine(num: int) -> None:
    examples = [e.with_target("only") for e in make_examples(num)]
    learner = learned(examples)
    learner.settle()
    prediction = learner.predict(make_examples(1, seed=4))[0]
    assert prediction.label == "only"
    assert prediction.confidence == pytest.approx(1.0)


def test_examples_without_target_are_passed_over() -> None:
    examples = make_examples(10)
    learner = ClosedFormLearner(dense_size=DENSE_SIZE, config=CONFIG)
    report = learner.learn([examples[0].with_target(None), *examples[1:]])
    assert (report.num_learned, report.num_without_target) == (9, 1)
    assert learner.num_examples == 9


def test_state_round_trip_goes_on_as_if_nothing_had_happened() -> None:
    examples = make_examples(400)
    straight = learned(examples)
    half = learned(examples[:200])
    half.predict(examples[:1])
    other = ClosedFormLearner(dense_size=DENSE_SIZE, config=CONFIG)
    other.restore(half.state())
    assert other.fingerprint() == half.fingerprint()
    other.learn(examples[200:])
    assert other.fingerprint() == straight.fingerprint()
    assert isinstance(other, Learner)


def test_a_state_that_does_not_fit_is_refused() -> None:
    state = learned(make_examples(50)).state()
    other = ClosedFormLearner(dense_size=DENSE_SIZE, config=ClosedFormConfig.of_size(256, gram_bits=12))
    with pytest.raises(StateError, match="num_features"):
        other.restore(state)
    fitting = ClosedFormLearner(dense_size=DENSE_SIZE, config=CONFIG)
    with pytest.raises(StateError, match="kind"):
        fitting.restore(State(state.tensors, {**state.data, "kind": "gradient"}))
    assert fitting.num_examples == 0


@pytest.mark.parametrize("num", [50, 300])
@pytest.mark.parametrize("part", ["sums.", "sums.class_sums", "sample.", "counts.data"])
def test_a_state_that_lacks_a_part_is_refused(num: int, part: str) -> None:
    state = learned(make_examples(num)).state()
    without = {name: tensor for name, tensor in state.tensors.items() if not name.startswith(part)}
    if len(without) == len(state.tensors):
        assert num == 50  # of few examples there are no sums of features
        return
    fitting = ClosedFormLearner(dense_size=DENSE_SIZE, config=CONFIG)
    with pytest.raises(StateError, match="damaged"):
        fitting.restore(State(without, state.data))
    assert fitting.num_examples == 0


def test_a_state_of_few_examples_that_lacks_one_is_refused() -> None:
    state = learned(make_examples(50)).state()
    data = {**state.data, "label_counts": [num + 1 for num in state.data["label_counts"]]}
    fitting = ClosedFormLearner(dense_size=DENSE_SIZE, config=CONFIG)
    with pytest.raises(StateError, match="neither the sums nor all examples"):
        fitting.restore(State(state.tensors, data))


def test_wrong_use_is_refused_and_changes_nothing() -> None:
    examples = make_examples(60)
    learner = learned(examples)
    before = learner.fingerprint()
    with pytest.raises(StateError, match="no such label"):
        learner.forget([examples[0].with_target("never")])
    with pytest.raises(StateError, match="more examples"):
        learner.forget(
            [*[e for e in examples if e.target == "c1"], next(e for e in examples if e.target == "c1")]
        )
    with pytest.raises(ConfigError, match="differ in seed"):
        learner.merge(
            ClosedFormLearner(
                dense_size=DENSE_SIZE,
                config=ClosedFormConfig.of_size(128, gram_bits=12, sample_size=64, seed=5),
            )
        )
    with pytest.raises(ConfigError, match="has no code"):
        learner.predict([Example(id="bare", text="hello")])
    short = Code(np.zeros(3, np.int8), np.zeros(0, np.uint32), np.zeros(0, np.uint8))
    with pytest.raises(StateError, match="another model"):
        learner.learn([Example(id="short", target="c0", code=short)])
    assert learner.fingerprint() == before


def test_more_labels_than_allowed_are_refused_whole() -> None:
    config = ClosedFormConfig.of_size(128, gram_bits=12, sample_size=64, max_classes=3)
    learner = ClosedFormLearner(dense_size=DENSE_SIZE, config=config)
    with pytest.raises(ConfigError, match="max_classes=3"):
        learner.learn(make_examples(100))
    assert learner.num_examples == 0
    assert learner.labels == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_features", 8),
        ("gram_bits", 40),
        ("max_classes", 1),
        ("sample_size", 0),
        ("smoothing", 0.0),
        ("outlier_quantile", 1.0),
        ("refresh_growth", 1.0),
        ("gather", 10**6),
        ("leverage_features", 10**5),
    ],
)
def test_settings_out_of_range_are_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field):
        ClosedFormConfig(**{field: value})  # type: ignore[arg-type]


def test_a_memory_budget_chooses_sizes() -> None:
    sizes = [ClosedFormConfig.for_memory(mib << 20).num_features for mib in (64, 256, 1024, 4096)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    with pytest.raises(ConfigError, match="too small"):
        ClosedFormConfig.for_memory(1 << 20)


@pytest.mark.parametrize("counts", [(1, 1, 1), (2, 1, 1), (1, 5, 1)])
def test_labels_with_one_example_each_are_told_apart(counts: tuple[int, int, int]) -> None:
    pool = make_examples(200, noise=0.2)
    few = [e for label, num in enumerate(counts) for e in [x for x in pool if x.target == f"c{label}"][:num]]
    learner = learned(few)
    learner.settle()
    test = [e for e in make_examples(300, noise=0.2)[200:] if e.target in {"c0", "c1", "c2"}]
    assert np.mean([p.label == e.target for p, e in zip(learner.predict(test), test, strict=True)]) > 0.9


def test_a_stream_that_begins_with_one_label_learns_the_second() -> None:
    examples = make_examples(600, noise=0.3)
    first = [e for e in examples if e.target == "c0"]
    second = [e for e in examples if e.target == "c1"]
    learner = learned(first)
    learner.predict(first[:1])
    learner.learn(second[:20])
    assert np.mean([p.label == "c1" for p in learner.predict(second[20:])]) > 0.9
    assert np.mean([p.label == "c0" for p in learner.predict(first)]) > 0.9
