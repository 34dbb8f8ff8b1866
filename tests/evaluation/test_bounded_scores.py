"""Scores of an endless stream take a bounded room, however many domains, labels and errors it has."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.evaluation.confusion import Confusion
from everlearn.evaluation.prequential import PrequentialScores
from everlearn.evaluation.report.confusion import confused_pairs, confusion_chart
from everlearn.evaluation.report.labels import report_html
from everlearn.evaluation.report.reported_run import ReportedRun
from everlearn.evaluation.text_metrics import TextMetricsLog
from everlearn.evaluation.text_scores import TextScores
from everlearn.evaluation.translation_scores import TranslationScores
from everlearn.types import Prediction, TextLoss


def loss(domain: str, nats: float = 2.0, num_bytes: int = 10) -> TextLoss:
    return TextLoss(domain=domain, nats=nats, tokens=3, bytes=num_bytes)


def test_ten_thousand_domains_take_the_room_of_a_few_hundred() -> None:
    sizes = {}
    for num in (1_000, 10_000):
        scores = TextScores(1_000)
        scores.update(loss(f"customer {k % num}", num_bytes=1 + k % 7) for k in range(30_000))
        sizes[num] = len(json.dumps(scores.state()))
    assert sizes[10_000] < 1.2 * sizes[1_000]


def test_what_has_no_figures_of_its_own_is_counted_with_the_others() -> None:
    scores = TextScores(1_000, max_domains=2)
    scores.update(loss(name, nats) for name, nats in [("a", 1.0), ("b", 2.0), ("c", 4.0), ("d", 8.0)])
    again = TextScores(5, max_domains=2)
    again.restore(json.loads(json.dumps(scores.state())))
    again.update([loss("c"), loss("a")])
    domains = again.summary()["domains"]
    assert {name: one["bytes"] for name, one in domains.items()} == {"a": 20, "b": 10, "(other domains)": 30}
    assert list(again.summary(max_domains=1)["domains"]) == ["(other domains)"]
    assert again.summary(max_domains=0) == again.summary() | {"domains": {}}
    every = TextScores(1_000, max_domains=None)
    every.update(loss(f"{k}") for k in range(1_000))
    assert len(every.summary()["domains"]) == 1_000


@settings(max_examples=4, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 149), st.integers(1, 60)), min_size=100, max_size=400),
    st.integers(0, 500),
)
def test_the_window_of_one_of_many_domains_is_right_within_its_parts(
    stream: list[tuple[int, int]], cut: int
) -> None:
    window = 500
    scores, bytes_of = TextScores(window, max_domains=None), Counter[int]()
    for number, (domain, num_bytes) in enumerate([*((k, 5) for k in range(150)), *stream]):
        if number == cut:
            fresh = TextScores(window, max_domains=None)
            fresh.restore(json.loads(json.dumps(scores.state())))
            scores = fresh
        scores.update([loss(str(domain), num_bytes * 0.5, num_bytes)])
        bytes_of[domain] += num_bytes
    for name, figures in scores.summary()["domains"].items():
        assert figures["bytes"] == bytes_of[int(name)]
        assert figures["rolling_bits_per_byte"] == pytest.approx(0.5 / np.log(2))


def test_translations_of_many_domains_take_room_as_they_come() -> None:
    pytest.importorskip("sacrebleu")
    scores = TranslationScores("char", window=1_000, max_domains=50)
    tracemalloc.start()
    scores.update(["a b"] * 200, ["a b"] * 200, [str(k) for k in range(200)])
    assert tracemalloc.get_traced_memory()[1] < 2_000_000  # a full window each would be 11 MB
    tracemalloc.stop()
    domains = scores.summary()["domains"]
    assert len(domains) == 51
    assert domains["(other domains)"]["pairs"] == 150
    whole = TranslationScores("char", window=7)
    second = TranslationScores("char", window=7)
    for k in range(20):
        whole.update([f"a b {k}"], ["a b"], ["x"])
        second.restore(json.loads(json.dumps(whole.state())))
        assert second.summary() == whole.summary()
        assert second.state() == whole.state()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.data())
def test_pairs_say_what_their_matrix_says(num: int, data: st.DataObject) -> None:
    rows = data.draw(
        st.lists(st.lists(st.integers(0, 3), min_size=num, max_size=num), min_size=num, max_size=num)
    )
    matrix = np.array(rows)
    labels = [f"l{k}" for k in range(num)]
    confusion = Confusion.from_matrix(labels, matrix)
    assert confusion.matrix().tolist() == rows
    assert confusion.row_totals.tolist() == matrix.sum(axis=1).tolist()
    chosen = data.draw(st.permutations(range(num)))[: data.draw(st.integers(0, num))]
    assert confusion.among(chosen).tolist() == matrix[np.ix_(chosen, chosen)].tolist()
    # The reference: all places of the matrix in order, sorted by their counts.
    errors = [(-rows[i][j], i, j) for i in range(num) for j in range(num) if i != j and rows[i][j]]
    expected = [(labels[i], labels[j], -count) for count, i, j in sorted(errors)[:4]]
    found = confused_pairs(confusion, 4)
    assert [(one.target, one.predicted, one.count) for one in found] == expected
    assert [one.share for one in found] == [
        one.count / matrix[labels.index(one.target)].sum() for one in found
    ]


def test_a_report_of_ten_thousand_labels_makes_no_matrix_of_them() -> None:
    labels = [f"label {k:05}" for k in range(10_000)]
    scores = PrequentialScores(window=10)
    for k in range(0, 10_000, 500):
        said = [Prediction(label, (label,), np.ones(1)) for label in labels[k : k + 500]]
        scores.update(said, [labels[k], *labels[k : k + 499]])
    tracemalloc.start()
    confusion = scores.confusion()
    assert confusion_chart(confusion) is not None
    page = report_html(
        ReportedRun(title="x", summary={}, metrics=TextMetricsLog().table()), confusion=confusion
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "label 00001" in page
    assert peak < 100e6  # the matrix would be 800 MB


def test_rare_errors_give_way_so_that_memory_is_bounded() -> None:
    num = 330
    labels = tuple(f"{k:03}" for k in range(num))
    said = [Prediction(label, labels, row) for label, row in zip(labels, np.eye(num), strict=True)]
    scores = PrequentialScores(window=10)
    for shift in range(num):
        scores.update(said, [labels[(k + shift) % num] for k in range(num)])
        scores.update([said[1]] * 3, [labels[0]] * 3)
    assert len(scores.state()["pairs"]) <= 100_000 + num
    confusion = scores.confusion()
    assert scores.summary()["accuracy"] == num / (num * num + 3 * num)
    assert confused_pairs(confusion, 1)[0].count == 3 * num + 1
    assert np.diagonal(confusion.matrix()).tolist() == [1] * num
    again = PrequentialScores(window=10)
    again.restore(json.loads(json.dumps(scores.state())))
    assert again.summary() == scores.summary()
