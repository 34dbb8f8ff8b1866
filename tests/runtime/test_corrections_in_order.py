"""Targets that come late or again count the same, in whatever order the stream is learned."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.history.verify import verify_run
from everlearn.runtime.loop.feeds import ArrangedFeed
from everlearn.settings import StreamSettings
from everlearn.stream.open import open_source
from everlearn.stream.source import EndOfStream
from everlearn.tasks.table import TASKS
from everlearn.types import Example

Settings = dict[str, Any]

RECORDS = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from("abcdef")},
        optional={"text": st.sampled_from(["one text", "another text"]), "label": st.sampled_from("xyz")},
    ).filter(lambda record: "text" in record or "label" in record),
    min_size=1,
    max_size=20,
)


def _folded(records: list[dict[str, str]]) -> tuple[dict[str, tuple[str, str | None]], list[str]]:
    """What a stream that is read record by record holds in the end, and ids of targets without a text."""
    held: dict[str, tuple[str, str | None]] = {}
    early: list[str] = []
    for one in records:
        text, label = one.get("text"), one.get("label")
        before = held.get(one["id"])
        if before is None and text is None:
            early.append(one["id"])
        elif before is None:
            held[one["id"]] = (str(text), label)
        elif text in (None, before[0]) and label is not None:
            held[one["id"]] = (before[0], label)
    return held, early


@settings(max_examples=80)
@given(RECORDS, st.sampled_from([("shuffled", 1), ("shuffled", 2), ("as-is", 2)]), st.integers(1, 5))
def test_an_arranged_stream_holds_what_the_stream_holds_as_it_comes(
    records: list[dict[str, str]], arrangement: tuple[str, int], limit: int
) -> None:
    held, early = _folded(records)
    order, experiences = arrangement
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
        stream = StreamSettings(order=order, experiences=min(experiences, len(held) or 1))  # type: ignore[arg-type]
        feed = ArrangedFeed(
            open_source(str(path), TASKS["classify"].source_config(stream, text_optional=True)),
            stream,
            seed=0,
            task=TASKS["classify"],
        )
        given_out: list[Example] = []
        while True:
            try:
                given_out += feed.next_batch(limit)
            except EndOfStream:
                break
        assert len(given_out) == feed.total
        rejected = feed.take_rejected()
    with_text = [one for one in given_out if one.text is not None]
    assert {one.id: (one.text, one.target) for one in with_text} == held
    assert len(with_text) == len(held)
    # Targets for examples of earlier streams come last, where the journal knows what they are for.
    assert [one.id for one in given_out[len(with_text) :]] == early
    assert len(rejected) + len(given_out) <= len(records)


@pytest.mark.parametrize("order", ["shuffled", "by-class", "by-domain", "by-time"])
def test_corrections_count_in_every_order(
    tmp_path: Path,
    write_codes: Callable[..., Path],
    clustered: Callable[..., list[Example]],
    small: Settings,
    order: str,
) -> None:
    examples = clustered(60)
    again = [examples[k].with_target(f"label{k % 5}") for k in (3, 11, 3, 40)]
    stream = write_codes("a.parquet", [*examples, *again, examples[5]])
    as_it_comes = _learn(stream, tmp_path / "plain", small)
    arranged = _learn(stream, tmp_path / "run", small | {"stream.order": order})
    assert arranged["fingerprint"] == as_it_comes["fingerprint"]
    assert arranged["examples"] == as_it_comes["examples"] == 60
    assert verify_run(tmp_path / "run").is_valid


def _learn(stream: Path, out: Path, given: Settings) -> dict[str, Any]:
    return learn_stream(LearnRequest(stream=str(stream), out=out, settings=given)).summary
