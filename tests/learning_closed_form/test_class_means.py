"""Class means against their definition in double precision, and what is left out or taken out of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.learning_closed_form.synthetic_codes import DENSE_SIZE, make_examples

from everlearn.learning import ClosedFormConfig, ClosedFormLearner
from everlearn.learning.closed_form.class_means import ClassMeans
from everlearn.learning.closed_form.features import FeatureMap
from everlearn.learning.closed_form.statistics.members import Members

COLUMNS = torch.tensor([0, 2, 3, 7])


def made(num: int, num_classes: int, seed: int) -> tuple[torch.Tensor, npt.NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    features = torch.from_numpy(generator.integers(-127, 128, (num, 9)).astype(np.int8))
    return features, generator.integers(0, num_classes, num)


def cosines(
    of: torch.Tensor, features: torch.Tensor, classes: npt.NDArray[np.int64], num_classes: int
) -> npt.NDArray[np.float64]:
    """By the definition."""
    columns = COLUMNS.numpy()
    rows, learned = of.numpy()[:, columns].astype(float), features.numpy()[:, columns].astype(float)
    found = np.zeros((len(rows), num_classes))
    for k in range(num_classes):
        mean = learned[classes == k].mean(axis=0) if (classes == k).any() else np.zeros(len(columns))
        norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(mean)
        np.divide(rows @ mean, norms, out=found[:, k], where=norms > 0)
    return found


@settings(deadline=None)
@given(num=st.integers(1, 30), num_classes=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_scores_are_cosines_with_the_means(num: int, num_classes: int, seed: int) -> None:
    features, classes = made(num, num_classes, seed)
    queries = made(5, num_classes, seed + 1)[0]
    queries[0] = 0  # like nothing
    means = ClassMeans.of_examples(COLUMNS, features, Members(classes), num_classes)
    np.testing.assert_allclose(
        means.scores(queries), cosines(queries, features, classes, num_classes), atol=1e-12
    )


@settings(deadline=None)
@given(num=st.integers(1, 20), num_classes=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_left_out_is_as_if_it_had_not_been_learned(num: int, num_classes: int, seed: int) -> None:
    features, classes = made(num, num_classes, seed)
    means = ClassMeans.of_examples(COLUMNS, features, Members(classes), num_classes)
    found = means.scores_without_self(features, classes)
    for k in range(num):
        others = np.arange(num) != k
        expected = cosines(features[k : k + 1], features[others], classes[others], num_classes)
        np.testing.assert_allclose(found[k : k + 1], expected, atol=1e-9)


@settings(deadline=None)
@given(
    num=st.integers(2, 30), num_classes=st.integers(1, 6), gone=st.integers(0, 29), seed=st.integers(0, 10**6)
)
def test_what_is_taken_out_leaves_no_trace(num: int, num_classes: int, gone: int, seed: int) -> None:
    features, classes = made(num, num_classes, seed)
    means = ClassMeans.of_examples(COLUMNS, features[:1], Members(classes[:1]), int(classes[0]) + 1)
    before = means.frozen()
    for start in range(1, num, 7):
        part = slice(start, start + 7)
        means.add(features[part], Members(classes[part]), num_classes)
    gone %= num
    means.add(features[gone : gone + 1], Members(classes[gone : gone + 1]), num_classes, -1)
    kept = np.arange(num) != gone
    expected = ClassMeans.of_examples(COLUMNS, features[kept], Members(classes[kept]), num_classes)
    assert torch.equal(means.sums_CL, expected.sums_CL)
    assert np.array_equal(means.scores(features), expected.scores(features))
    assert before.sums_CL.shape[0] == int(classes[0]) + 1
    order = list(range(num_classes))[::-1]
    assert np.array_equal(means.ordered(order).scores(features), means.scores(features)[:, order])


def test_an_example_may_be_of_several_classes() -> None:
    features = made(3, 1, 0)[0]
    members = Members(np.array([0, 1, 1, 2]), np.array([0, 0, 1, 2]))
    means = ClassMeans.of_examples(COLUMNS, features, members, 3)
    rows = features[:, COLUMNS].to(torch.int64)
    assert torch.equal(means.sums_CL, torch.stack([rows[0], rows[0] + rows[1], rows[2]]))


@pytest.mark.parametrize("num_features", [64, 128, 512])
def test_views_are_the_unchanged_components_of_codes(num_features: int) -> None:
    cpu = torch.device("cpu")
    features = FeatureMap(60, 16, 20, num_features, seed=0, device=cpu)
    codes = torch.randint(-127, 128, (4, 60), generator=torch.Generator().manual_seed(0), dtype=torch.int8)
    leading, rest = features.views
    found = features(codes)
    assert torch.equal(found[:, leading], codes[:, :16])
    num_linear = min(40, num_features // 2)
    assert torch.equal(found[:, rest], codes[:, 16:num_linear])
    assert len(FeatureMap(16, 16, 0, 64, seed=0, device=cpu).views) == 1


def test_few_examples_of_many_labels_are_told_better_with_means() -> None:
    made_of_30 = make_examples(600, num_classes=30, noise=2.0)
    examples, queries = made_of_30[:100], made_of_30[100:]
    right = {}
    for class_means in (True, False):
        config = ClosedFormConfig.of_size(256, gram_bits=12, class_means=class_means)
        learner = ClosedFormLearner(dense_size=DENSE_SIZE, config=config)
        learner.learn(examples)
        learner.settle()
        predicted = learner.predict(queries)
        right[class_means] = sum(p.label == q.target for p, q in zip(predicted, queries, strict=True))
    assert right[True] > right[False]


def test_a_configuration_of_before_has_no_means() -> None:
    recorded = ClosedFormConfig.of_size(256).to_json()
    assert ClosedFormConfig.from_json(recorded).class_means
    del recorded["class_means"]
    assert not ClosedFormConfig.from_json(recorded).class_means
