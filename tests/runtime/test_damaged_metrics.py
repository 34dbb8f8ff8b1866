"""A damaged table of metrics stops nothing: it is put aside, and told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.folder.rebuild_report import rebuild_report
from everlearn.runtime.history.verify import verify_run
from everlearn.types import Example

Settings = dict[str, Any]


def _garbage(path: Path) -> None:
    path.write_bytes(b"no table at all")


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _of_other_columns(path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), path)


def _without_its_own_words(path: Path) -> None:
    pq.write_table(pq.read_table(path).replace_schema_metadata({}), path)


DAMAGES = [_garbage, _truncated, _empty, _of_other_columns, _without_its_own_words]


def test_learn_forget_and_report_go_on_without_it(
    tmp_path: Path, write_codes: Callable[..., Path], clustered: Callable[..., list[Example]], small: Settings
) -> None:
    run, examples = tmp_path / "run", clustered(50)
    metrics = run / "metrics.parquet"
    request = LearnRequest(stream=str(write_codes("a.parquet", examples)), out=run, settings=small)
    fingerprint = learn_stream(request).summary["fingerprint"]
    sound = metrics.read_bytes()
    for damage in DAMAGES:
        metrics.write_bytes(sound)
        damage(metrics)
        notes: list[str] = []
        assert rebuild_report(run, on_note=notes.append).is_file()
        assert "metrics.parquet is damaged" in notes[0]
        assert "put aside as metrics.damaged.parquet" in (run / "report.html").read_text(encoding="utf-8")
        assert (run / "metrics.damaged.parquet").is_file()
    _garbage(metrics)
    outcome = learn_stream(request)
    assert outcome.summary["fingerprint"] == fingerprint
    assert any("metrics.parquet is damaged" in note for note in outcome.notes)
    _truncated(metrics)
    told = forget_in_run(run, ids=[examples[3].id])
    assert any("metrics.parquet is damaged" in note for note in told.notes)
    assert verify_run(run).is_valid


def test_curves_begin_anew(
    tmp_path: Path,
    write_codes: Callable[..., Path],
    clustered: Callable[..., list[Example]],
    small: Settings,
) -> None:
    run = tmp_path / "run"
    first, second = write_codes("a.parquet", clustered(64)), write_codes("b.parquet", clustered(64, start=64))
    learn_stream(LearnRequest(stream=str(first), out=run, settings=small))
    _garbage(run / "metrics.parquet")
    summary = learn_stream(LearnRequest(stream=str(second), out=run)).summary
    assert summary["examples"] == 128
    assert pq.read_table(run / "metrics.parquet")["examples"].to_pylist() == [96, 128]
