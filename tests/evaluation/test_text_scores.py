"""Bits per byte over streams, against sums by hand; the matrix of domains."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.errors import ConfigError, StateError
from everlearn.evaluation.text_scores import DomainMatrix, TextScores, bits_per_byte
from everlearn.types import StepReport, TextLoss

losses = st.builds(
    TextLoss,
    domain=st.sampled_from([None, "news", "law"]),
    nats=st.floats(0, 1e4),
    tokens=st.integers(0, 500),
    bytes=st.integers(0, 2_000),
)
stream = st.lists(st.lists(losses, max_size=4), max_size=30)


def bits(chosen: list[TextLoss]) -> Any:
    num_bytes = sum(loss.bytes for loss in chosen)
    if not num_bytes:
        return None
    return pytest.approx(sum(loss.nats for loss in chosen) / math.log(2) / num_bytes)


@settings(max_examples=60, deadline=None)
@given(stream)
def test_cumulative_scores_are_ratios_of_sums(batches: list[list[TextLoss]]) -> None:
    scores = TextScores(1_000)
    for batch in batches:
        scores.update(batch)
    every = [loss for batch in batches for loss in batch]
    summary = scores.summary()
    assert summary["bits_per_byte"] == bits(every)
    assert (summary["tokens"], summary["bytes"]) == (
        sum(x.tokens for x in every),
        sum(x.bytes for x in every),
    )
    assert set(summary["domains"]) == {loss.domain for loss in every} - {None}
    for name, figures in summary["domains"].items():
        own = [loss for loss in every if loss.domain == name]
        assert figures["bits_per_byte"] == bits(own)
        if figures["bytes"]:
            assert figures["tokens_per_byte"] == sum(x.tokens for x in own) / figures["bytes"]
        if figures["tokens"]:
            assert figures["nats_per_token"] == pytest.approx(sum(x.nats for x in own) / figures["tokens"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 50)), min_size=1, max_size=80), st.integers(1, 300)
)
def test_rolling_scores_cover_the_last_bytes(pairs: list[tuple[float, int]], window: int) -> None:
    scores = TextScores(window)
    every = []
    for nats, num_bytes in pairs:
        every.append(TextLoss(domain="d", nats=nats, tokens=1, bytes=num_bytes))
        scores.update(every[-1:])
        # Of the updates, the fewest that hold the window's bytes.
        recent: list[TextLoss] = []
        while len(recent) < len(every) and sum(x.bytes for x in recent) < window:
            recent.insert(0, every[-1 - len(recent)])
        summary = scores.summary()
        assert summary["rolling_bits_per_byte"] == bits(recent)
        assert summary["domains"]["d"]["rolling_bits_per_byte"] == bits(recent)


def test_short_texts_do_not_fill_the_memory() -> None:
    scores = TextScores(1_000_000)
    for number in range(20_000):
        scores.update([TextLoss(domain=None, nats=float(number), tokens=1, bytes=80)])
    parts = scores.state()["total"][3]
    assert 950 < len(parts) <= 1_001
    assert 1_000_000 <= sum(part[2] for part in parts) < 1_001_100
    # The window holds the last 12,500 texts or a few more, with losses from 7,500 on.
    assert scores.summary()["rolling_bits_per_byte"] == pytest.approx(
        (7_500 + 19_999) / 2 / math.log(2) / 80, rel=1e-3
    )


@settings(max_examples=40, deadline=None)
@given(stream, st.integers(0, 30))
def test_state_continues_exactly(batches: list[list[TextLoss]], cut: int) -> None:
    whole, first, second = TextScores(700), TextScores(700), TextScores(1)
    for number, batch in enumerate(batches):
        whole.update(batch)
        if number < cut:
            first.update(batch)
            second.restore(json.loads(json.dumps(first.state())))
        else:
            second.update(batch)
    if cut > 0 and batches:
        assert second.summary() == whole.summary()
        assert second.state() == whole.state()


def test_damaged_states_and_wrong_arguments() -> None:
    with pytest.raises(ConfigError, match="window_bytes must be at least 1, not 0"):
        TextScores(0)
    scores = TextScores()
    scores.update([TextLoss(domain="a", nats=1.0, tokens=1, bytes=1)])
    state = scores.state()
    for change in (
        {"version": 2},
        {"total": None},
        {"total": [1]},
        {"domains": [["a", 1]]},
        {"window_bytes": 0},
    ):
        with pytest.raises(StateError):
            scores.restore(state | change)
    assert scores.state() == state
    assert bits_per_byte(1.0, 0) is None
    assert TextScores().summary()["bits_per_byte"] is None
    assert StepReport(num_learned=1).text_losses == ()


def test_forgetting_is_the_increase_from_the_best() -> None:
    matrix = DomainMatrix()
    assert (matrix.mean_final, matrix.forgetting) == (None, None)
    matrix.add(None, {"a": 2.0, "b": 2.0, "c": 2.0, "general": 1.0})
    matrix.add("a", {"a": 1.0, "b": 1.9, "c": 1.7, "general": 0.9})
    # a and general can be forgotten; b was learned just now; c is still to come.
    matrix.add("b", {"a": 1.3, "b": 1.0, "general": 1.1})
    assert matrix.forgetting == pytest.approx((0.3 + 0.2) / 2)
    assert matrix.mean_final == pytest.approx((1.3 + 1.0 + 1.1) / 3)
    # a comes back: b can be forgotten now.
    matrix.add("a", {"a": 0.9, "b": 1.4, "general": 1.0})
    assert matrix.forgetting == pytest.approx((0.4 + 0.1) / 2)
    assert matrix.domains == ("a", "b", "c", "general")
    assert matrix.values[2] == [1.3, 1.0, None, 1.1]
    again = DomainMatrix.from_json(json.loads(json.dumps(matrix.to_json())))
    assert again.to_json() == matrix.to_json()
    assert again.forgetting == matrix.forgetting


def test_the_matrix_as_markdown() -> None:
    matrix = DomainMatrix()
    matrix.add(None, {"a|b": 1.25})
    matrix.add("a|b", {"a|b": 1.0, "c": 2.0})
    assert matrix.markdown(2).splitlines() == [
        r"| bits per byte after | a\|b | c |",
        "| --- | ---: | ---: |",
        "| (nothing) | 1.25 | – |",
        r"| a\|b | 1.00 | 2.00 |",
        "",
        "mean at the end 1.50",
    ]


def test_wrong_rows_are_refused() -> None:
    matrix = DomainMatrix()
    matrix.add("a", {"a": 1.0})
    with pytest.raises(ValueError, match="only the first row"):
        matrix.add(None, {"a": 1.0})
    with pytest.raises(ValueError, match="bits per byte of 'a' must be finite and not negative, not nan"):
        matrix.add("b", {"a": math.nan})
    for damaged in ({}, {"learned": ["a"], "domains": ["a"], "bits_per_byte": [[1.0, 2.0]]}, {"learned": 3}):
        with pytest.raises(StateError, match="damaged"):
            DomainMatrix.from_json(damaged)
