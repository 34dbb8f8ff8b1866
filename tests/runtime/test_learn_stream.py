from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.runtime.conftest import digest_of, status_of

from everlearn.errors import ConfigError, InputError, RunError
from everlearn.runtime.commands import learn as learn_module
from everlearn.runtime.commands.learn import LearnOutcome, LearnRequest, learn_stream
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.run_record import SourceProgress
from everlearn.runtime.interruption import StopFlag
from everlearn.runtime.listener import Progress
from everlearn.runtime.loop.feeds import ArrangedFeed
from everlearn.settings import StreamSettings
from everlearn.stream.open import open_source
from everlearn.tasks.table import TASKS
from everlearn.types import Cursor, Example

Settings = dict[str, object]
WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Example]]


class StopAfter:
    """A listener that asks for a stop after some batches."""

    def __init__(self, batches: int) -> None:
        self.flag = StopFlag()
        self._left = batches

    def stage(self, text: str) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        self._left -= 1
        self.flag.requested = self.flag.requested or self._left <= 0


def learn(stream: Path, out: Path, settings: Settings, **more: Any) -> LearnOutcome:
    return learn_stream(LearnRequest(stream=str(stream), out=out, settings=settings, **more))


def sources_of(run: Path) -> list[SourceProgress]:
    with RunFolder.open_to_read(run) as folder:
        return folder.sources()


def rejected_of(run: Path) -> list[dict[str, str]]:
    text = (run / "rejected.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_holds_everything(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    stream = write_codes("stream.parquet", clustered(300))
    test = write_codes("test.parquet", clustered(60, start=1000))
    outcome = learn(stream, tmp_path / "run", small, test=str(test))
    summary = outcome.summary
    assert summary["examples"] == summary["learned"] == 300
    assert summary["classes"] == 5
    assert summary["prequential_accuracy"] > 0.6
    assert summary["test_accuracy"] > 0.8
    assert summary["average_accuracy"] is None
    assert summary["encode_seconds"] + summary["learn_seconds"] <= summary["seconds"]
    assert not outcome.interrupted
    names = {entry.name for entry in (tmp_path / "run").iterdir()}
    assert names >= {
        "run.json",
        "checkpoints",
        "journal.sqlite",
        "metrics.parquet",
        "confusion.json",
        "report.html",
    }
    table = pq.read_table(tmp_path / "run" / "metrics.parquet")
    assert table["examples"].to_pylist() == [*range(32, 300, 32), 300]
    assert status_of(tmp_path / "run").summary["fingerprint"] == summary["fingerprint"]
    confusion = json.loads((tmp_path / "run" / "confusion.json").read_text(encoding="utf-8"))
    assert sum(map(sum, confusion["rows_are_targets"])) == 60


@pytest.mark.parametrize("ordering", [{}, {"stream.order": "by-class", "stream.experiences": 5}])
def test_stopped_and_continued_equals_uninterrupted(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings, ordering: Settings
) -> None:
    stream = write_codes("stream.parquet", clustered(300))
    test = str(write_codes("test.parquet", clustered(60, start=1000)))
    settings = small | ordering
    whole = learn(stream, tmp_path / "whole", settings, test=test)
    listener = StopAfter(3)
    request = LearnRequest(stream=str(stream), out=tmp_path / "run", settings=settings, test=test)
    first = learn_stream(request, listener=listener, stop=listener.flag)
    assert first.interrupted
    assert 0 < first.summary["examples"] < 300
    assert first.summary["test_accuracy"] is None
    rest = learn(stream, tmp_path / "run", {}, test=test)
    assert not rest.interrupted
    same = (
        "examples",
        "learned",
        "classes",
        "fingerprint",
        "test_accuracy",
        "average_accuracy",
        "forgetting",
    )
    assert {name: rest.summary[name] for name in same} == {name: whole.summary[name] for name in same}
    assert any("Went on after" in note for note in rest.notes)
    if ordering:
        assert rest.summary["average_accuracy"] > 0.8
        assert rest.summary["forgetting"] is not None
        matrix = json.loads((tmp_path / "run" / "matrix.json").read_text(encoding="utf-8"))
        assert len(matrix["values"]) == 5


def test_nothing_left_is_said(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    stream = write_codes("stream.parquet", clustered(50))
    first = learn(stream, tmp_path / "run", small)
    again = learn(stream, tmp_path / "run", {})
    assert again.summary["fingerprint"] == first.summary["fingerprint"]
    assert again.summary["examples"] == 50
    assert any("Nothing is left to learn" in note for note in again.notes)


class Crash(BaseException):
    """Nothing may catch it, as nothing catches a power failure."""


@pytest.mark.parametrize("crash_at", range(0, 40, 3))
def test_a_crash_at_any_rename_loses_and_repeats_nothing(
    tmp_path: Path,
    write_codes: WriteCodes,
    clustered: Clustered,
    small: Settings,
    monkeypatch: pytest.MonkeyPatch,
    crash_at: int,
) -> None:
    stream = write_codes("stream.parquet", clustered(120))
    settings = small | {"run.checkpoint_seconds": 0.0}
    monkeypatch.setattr(learn_module, "write_reader_files", lambda *_, **__: None)
    expected = learn(stream, tmp_path / "whole", settings).summary
    replace, renames = os.replace, 0

    def crashing_replace(source: Any, target: Any) -> None:
        nonlocal renames
        renames += 1
        if renames > crash_at:
            raise Crash
        replace(source, target)

    monkeypatch.setattr(os, "replace", crashing_replace)
    # A process that is killed cleans nothing up.
    monkeypatch.setattr(RunFolder, "remove", lambda self: None)
    try:
        learn(stream, tmp_path / "run", settings)
    except Crash:
        pass
    else:
        assert renames <= crash_at
    monkeypatch.setattr(os, "replace", replace)
    summary = learn(stream, tmp_path / "run", settings).summary
    for name in ("examples", "learned", "rejected", "classes", "fingerprint"):
        assert summary[name] == expected[name], name
    assert digest_of(tmp_path / "run") == digest_of(tmp_path / "whole")
    with RunFolder.open_to_read(tmp_path / "run") as folder:
        recorded = {one.file for one in folder.history.checkpoints()}
    assert {entry.name for entry in (tmp_path / "run" / "checkpoints").iterdir()} == recorded


@pytest.mark.parametrize("delay", [1, 50, 500])
def test_delayed_labels_survive_a_stop(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings, delay: int
) -> None:
    stream = write_codes("stream.parquet", clustered(200))
    at_once = learn(stream, tmp_path / "at-once", small)
    listener = StopAfter(3)
    request = LearnRequest(stream=str(stream), out=tmp_path / "run", settings=small | {"stream.delay": delay})
    first = learn_stream(request, listener=listener, stop=listener.flag)
    assert first.summary["examples"] == 96
    assert first.summary["learned"] == max(0, 96 - delay)
    rest = learn(stream, tmp_path / "run", {})
    assert rest.summary["learned"] == 200
    assert rest.summary["fingerprint"] == at_once.summary["fingerprint"]
    if delay == 500:
        assert rest.summary["prequential_accuracy"] == 0.0


def test_another_stream_is_learned_on_top(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    first, second = clustered(100), clustered(80, start=100)
    both = learn(write_codes("both.parquet", first + second), tmp_path / "both", small)
    learn(write_codes("first.parquet", first), tmp_path / "run", small)
    on_top = learn(write_codes("second.parquet", second), tmp_path / "run", {})
    assert on_top.summary["fingerprint"] == both.summary["fingerprint"]
    assert on_top.summary["examples"] == 180
    assert len(sources_of(tmp_path / "run")) == 2


def test_repeated_ids_are_rejected_with_their_place(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(60)
    learn(write_codes("whole.parquet", examples), tmp_path / "whole", small)
    repeated = [*examples[:40], examples[3], *examples[40:], examples[59]]
    for name, settings in (("as-is", {}), ("shuffled", {"stream.order": "shuffled"})):
        outcome = learn(write_codes("stream.parquet", repeated), tmp_path / name, small | settings)
        assert outcome.summary["rejected"] == 2
        assert outcome.summary["examples"] == 60
        assert outcome.summary["fingerprint"] == status_of(tmp_path / "whole").summary["fingerprint"]
        assert [(one["place"], one["reason"]) for one in rejected_of(tmp_path / name)] == [
            ("stream.parquet, example 41", "duplicate id 'message-3'"),
            ("stream.parquet, example 62", "duplicate id 'message-59'"),
        ]
    again = learn(write_codes("other.parquet", examples[:5]), tmp_path / "as-is", {})
    assert again.summary["rejected"] == 7


def test_a_file_that_was_replaced_is_another_stream(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    stream = write_codes("today.parquet", clustered(64))
    learn(stream, tmp_path / "run", small)
    write_codes("today.parquet", clustered(64, start=64))
    outcome = learn(stream, tmp_path / "run", {})
    assert outcome.summary["examples"] == 128


def test_settings_that_differ_from_the_runs_are_named(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    stream = write_codes("stream.parquet", clustered(100))
    listener = StopAfter(1)
    request = LearnRequest(stream=str(stream), out=tmp_path / "run", settings=small)
    learn_stream(request, listener=listener, stop=listener.flag)
    with pytest.raises(ConfigError) as caught:
        learn(stream, tmp_path / "run", {"learner.closed_form.num_features": 128, "stream.order": "shuffled"})
    assert "learner.closed_form.num_features is 64 in the run, 128 was given" in str(caught.value)
    assert "stream.order is 'as-is' in the run, 'shuffled' was given" in str(caught.value)
    learn(stream, tmp_path / "run", {"run.checkpoint_seconds": 5, "learner.closed_form.num_features": 64})


def test_codes_of_another_model_are_refused(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    learn(write_codes("one.parquet", clustered(40)), tmp_path / "run", small)
    other = write_codes("two.parquet", clustered(40, start=40), "coder-2")
    with pytest.raises(RunError, match=r"two\.parquet holds codes of another model"):
        learn(other, tmp_path / "run", {})


def arranged(path: Path, cursor: Cursor | None = None, digest: str | None = None) -> ArrangedFeed:
    settings = StreamSettings(order="shuffled")
    return ArrangedFeed(open_source(path), settings, 0, cursor, digest, task=TASKS["classify"])


def test_an_ordered_stream_that_changed_cannot_be_resumed(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    path = tmp_path / "stream.jsonl"
    lines = [json.dumps({"id": str(k), "text": "t" * (k + 1), "label": "ab"[k % 2]}) for k in range(3_000)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    feed = arranged(path)
    feed.next_batch(10)
    cursor, digest = feed.cursor(), feed.digest
    resumed = arranged(path, cursor, digest)
    assert [e.id for e in resumed.next_batch(5)] == [e.id for e in feed.next_batch(5)]
    path.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    with pytest.raises(RunError, match="has changed since"):
        arranged(path, cursor, digest)


def test_streams_without_anything_to_learn_are_refused(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    empty = write_codes("empty.parquet", [])
    with pytest.raises(InputError, match=r"empty\.parquet is empty"):
        learn(empty, tmp_path / "run", small)
    assert not (tmp_path / "run").exists()
    bare = write_codes("bare.parquet", [one.with_target(None) for one in clustered(10)])
    with pytest.raises(InputError, match="none of its 10 examples has a target"):
        learn(bare, tmp_path / "run", small)
    with pytest.raises(InputError, match="cannot be tested on"):
        learn(write_codes("good.parquet", clustered(10)), tmp_path / "other", small, test=str(bare))
    assert not (tmp_path / "other").exists()


def test_a_fruitless_stream_is_not_saved_on_the_way(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    often = small | {"run.checkpoint_seconds": 1e-6}
    bare = write_codes("bare.parquet", [one.with_target(None) for one in clustered(100)])
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"msg": "a"}\n' * 3_000, encoding="utf-8")
    for order in ("as-is", "shuffled"):
        settings = often | {"stream.order": order}
        with pytest.raises(InputError, match="none of its 100 examples has a target"):
            learn(bare, tmp_path / "run", settings)
        with pytest.raises(InputError, match=r"all 3,000 records .*wrong\.jsonl:1: no field 'text'"):
            learn(wrong, tmp_path / "run", settings)
        with pytest.raises(InputError, match=r"wrong\.jsonl:1: no field 'text'"):
            learn(wrong, tmp_path / "run", settings | {"stream.strict": True})
        assert not (tmp_path / "run").exists()


def test_the_gradient_learner_refuses_codes(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered
) -> None:
    stream = write_codes("stream.parquet", clustered(10))
    with pytest.raises(ConfigError, match="holds codes, which only the closed-form learner can"):
        learn(stream, tmp_path / "run", {"learner.kind": "gradient"})


def test_two_files_of_one_name_do_not_collide(tmp_path: Path, small: Settings) -> None:
    runs = []
    for day in ("monday", "tuesday"):
        (tmp_path / day).mkdir()
        path = tmp_path / day / "log.jsonl"
        rows = [{"text": f"{day} {k} " + ["good", "bad"][k % 2], "label": "gb"[k % 2]} for k in range(6)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        runs.append(learn(path, tmp_path / "run", small if day == "monday" else {}))
    assert runs[1].summary["examples"] == runs[1].summary["learned"] == 12
    assert runs[1].summary["rejected"] == 0
    assert sources_of(tmp_path / "run")[1].id_suffix == "@2"
