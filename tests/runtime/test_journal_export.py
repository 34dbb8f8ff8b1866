"""What a journal exports is JSON, and is learned again to the same state."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.text_runs import documents, language_settings, write_jsonl, write_language_model

from everlearn.journal.records import JournaledPrediction
from everlearn.json_text import json_text
from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.history.exported_record import exported_record
from everlearn.runtime.history.journal_views import export_journal
from everlearn.runtime.history.verify import verify_run
from everlearn.stream.mapping import RecordMapper
from everlearn.stream.source import FieldNames
from everlearn.types import Example

Settings = dict[str, Any]
WriteCodes = Callable[..., Path]

WORDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8
).filter(lambda text: not text.isspace())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
USUAL = ["label", "intent", "category", "target", "id", "text", "domain", "time", "date", "timestamp", "role"]
NAMES = st.sampled_from([*USUAL, "learned", "predicted", "confidence", "fields", "customer", "score"]) | WORDS


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def _finite(value: Any) -> Any:
    """The value as JSON has it: null where there is no number."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@given(
    id_=WORDS,
    text=WORDS,
    target=st.none() | WORDS,
    domain=st.none() | WORDS,
    time=st.none() | WORDS,
    fields=st.dictionaries(NAMES, VALUES, max_size=6),
    score=st.floats(),
)
def test_an_exported_record_reads_as_the_example_that_it_was(
    id_: str,
    text: str,
    target: str | None,
    domain: str | None,
    time: str | None,
    fields: dict[str, Any],
    score: float,
) -> None:
    example = Example(id=id_, text=text, target=target, domain=domain, time=time, fields=fields)
    said = JournaledPrediction(
        label="a", confidence=score, target_probability=None, outlier_score=score, is_outlier=False
    )
    line = json_text(exported_record(example, role="learn", target=target, is_learned=True, said=said))
    record = json.loads(line, parse_constant=_refuse)
    read = RecordMapper(FieldNames(), "file").example(record, 1)
    assert (read.id, read.text, read.target, read.domain, read.time) == (id_, text, target, domain, time)
    kept = dict(read.fields)
    notes = [kept.pop(name) for name in ("role", "learned", "predicted", "confidence", "outlier_score")]
    assert notes == ["learn", True, "a", *([score if math.isfinite(score) else None] * 2)]
    apart = kept.pop("fields", {})
    assert kept | apart == _finite(fields)
    # Names of nobody's are beside the rest, where ``--where`` and the next run find them.
    assert {name for name in fields if name not in {*USUAL, *apart}} <= set(kept)
    assert apart.keys() <= {*USUAL, "learned", "predicted", "confidence", "outlier_score", "fields"}


def test_codes_learned_from_an_export_give_the_same_state(
    tmp_path: Path, write_codes: WriteCodes, clustered: Callable[..., list[Example]], small: Settings
) -> None:
    examples, run = clustered(120), tmp_path / "run"
    _learn(write_codes("a.parquet", examples), run, small)
    corrected = [examples[k].with_target("label0") for k in range(5)]
    _learn(write_codes("b.parquet", [*corrected, *clustered(40, start=200)]), run)
    forget_in_run(run, where=[("customer", "c3")])
    again, first = tmp_path / "again", tmp_path / "all.parquet"
    assert export_journal(run, first) > 100
    assert _learn(first, again, small)["fingerprint"] == _fingerprint(run)
    assert export_journal(again, tmp_path / "second.jsonl") == export_journal(run, tmp_path / "first.jsonl")
    customers = [json.loads(line)["customer"] for line in (tmp_path / "first.jsonl").read_text().splitlines()]
    assert set(customers) == {f"c{k}" for k in range(7) if k != 3}


def test_documents_learned_from_an_export_give_the_same_state(tmp_path: Path) -> None:
    model, run, again = write_language_model(tmp_path / "model"), tmp_path / "run", tmp_path / "again"
    texts = [*documents(3, sentences=20), *documents(3, seed=1, sentences=2)]
    chat = [{"role": "user", "content": "ping"}, {"role": "assistant", "content": "pong"}]
    records: list[dict[str, Any]] = [
        {"id": f"d{k}", "text": text, "domain": "log", "customer": f"c{k}"} for k, text in enumerate(texts)
    ]
    records.append({"id": "chat", "messages": chat, "customer": "c9"})
    stream = write_jsonl(tmp_path / "stream.jsonl", records)
    settings = language_settings(model) | {"stream.piece_bytes": 256}
    before = _learn(stream, run, settings)
    count = export_journal(run, tmp_path / "all.jsonl")
    assert count > len(records)  # long documents came in pieces
    rows = [
        json.loads(line, parse_constant=_refuse)
        for line in (tmp_path / "all.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert {row["customer"] for row in rows} == {*(f"c{k}" for k in range(6)), "c9"}
    after = _learn(tmp_path / "all.jsonl", again, settings | {"stream.piece_bytes": 16_384})
    assert after["fingerprint"] == before["fingerprint"]
    assert after["bytes"] == before["bytes"]


def _learn(stream: Path, out: Path, settings: Settings | None = None) -> dict[str, Any]:
    return learn_stream(LearnRequest(stream=str(stream), out=out, settings=settings or {})).summary


def _fingerprint(run: Path) -> str:
    verified = verify_run(run)
    assert verified.is_valid
    return verified.fingerprint


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_json_has_no_number_for_is_null(value: float) -> None:
    text = json_text({"a": value, "b": [1, {"c": (value,)}], "d": "Infinity"})
    assert json.loads(text, parse_constant=_refuse) == {"a": None, "b": [1, {"c": [None]}], "d": "Infinity"}
