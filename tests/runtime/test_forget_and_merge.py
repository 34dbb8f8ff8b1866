from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from everlearn.errors import ConfigError, RunError
from everlearn.runtime.codes_store import CodesStore
from everlearn.runtime.evaluate import evaluate_run
from everlearn.runtime.forget import forget_in_run
from everlearn.runtime.interruption import StopFlag
from everlearn.runtime.learn import LearnRequest, learn_stream
from everlearn.runtime.merge import merge_runs
from everlearn.runtime.rebuild_report import rebuild_report
from everlearn.runtime.run_folder import RunFolder
from everlearn.types import Example

Settings = dict[str, object]
WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Example]]


def learn(stream: Path, out: Path, settings: Settings) -> str:
    outcome = learn_stream(LearnRequest(stream=str(stream), out=out, settings=settings))
    return str(outcome.summary["fingerprint"])


@pytest.mark.parametrize("sample_size", [16, 1024])
def test_forgetting_equals_never_having_seen(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings, sample_size: int
) -> None:
    settings = small | {"learner.closed_form.sample_size": sample_size}
    examples = clustered(200)
    chosen = {example.id for example in random.Random(3).sample(examples, 70)}
    before = learn(write_codes("all.parquet", examples), tmp_path / "run", settings)
    never = learn(
        write_codes("rest.parquet", [one for one in examples if one.id not in chosen]),
        tmp_path / "never",
        settings,
    )
    outcome = forget_in_run(tmp_path / "run", ids=sorted(chosen))
    assert outcome.num_forgotten == 70
    assert outcome.exact
    assert outcome.unknown_ids == ()
    assert (outcome.fingerprint_before, outcome.fingerprint_after) == (before, never)
    # What was forgotten may be learned again, and only that.
    assert learn(write_codes("again.parquet", examples), tmp_path / "run", {}) == before


def test_nothing_of_a_forgotten_example_stays_in_the_folder(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(60)
    stream = write_codes("stream.parquet", [*examples, examples[7]])
    learn(stream, tmp_path / "run", small | {"run.keep_text": True})
    forget_in_run(tmp_path / "run", where=[("id", "message-7")])
    folder = RunFolder.open_to_read(tmp_path / "run")
    kept = [
        one
        for batch in CodesStore(folder.path, folder.record.codes, folder.record.learner).scan()
        for one in batch
    ]
    assert "message-7" not in {one.id for one in kept}
    assert "text 8" in {one.text for one in kept}
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file() and path.suffix != ".parquet":
            data = path.read_bytes()
            assert b"message-7'" not in data, path
            assert b'message-7"' not in data, path
    assert b"message-7\x00" not in (tmp_path / "run" / "ids.sqlite").read_bytes()


def test_forgetting_by_fields(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(100)
    learn(write_codes("stream.parquet", examples), tmp_path / "run", small)
    outcome = forget_in_run(tmp_path / "run", where=[("customer", "c3"), ("urgent", "true")])
    expected = [one for one in examples if one.fields["customer"] == "c3" and one.fields["urgent"]]
    assert outcome.num_forgotten == len(expected) > 0
    gone = forget_in_run(tmp_path / "run", where=[("label", "label2")])
    assert gone.removed_labels == ("label2",)
    nothing = forget_in_run(tmp_path / "run", where=[("customer", "nobody")])
    assert nothing.num_forgotten == 0
    assert nothing.fingerprint_before == nothing.fingerprint_after


def test_unknown_ids_are_told_and_the_others_forgotten(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    learn(write_codes("stream.parquet", clustered(40)), tmp_path / "run", small)
    outcome = forget_in_run(tmp_path / "run", ids=["message-1", "nobody", "message-1"])
    assert outcome.num_forgotten == 1
    assert outcome.unknown_ids == ("nobody",)
    assert forget_in_run(tmp_path / "run", ids=["message-1"]).unknown_ids == ("message-1",)
    with pytest.raises(ConfigError, match="say what to forget"):
        forget_in_run(tmp_path / "run")


def test_examples_that_wait_for_their_target_are_forgotten_too(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(96)
    stream = write_codes("stream.parquet", examples)
    stop = StopFlag()
    stop.requested = True
    request = LearnRequest(stream=str(stream), out=tmp_path / "run", settings=small | {"stream.delay": 40})
    assert learn_stream(request, stop=stop).summary["learned"] == 0
    outcome = forget_in_run(tmp_path / "run", ids=["message-5"])
    assert outcome.num_forgotten == 0
    assert outcome.unknown_ids == ()
    rest = write_codes("rest.parquet", [one for one in examples if one.id != "message-5"])
    assert learn(stream, tmp_path / "run", {}) == learn(rest, tmp_path / "never", small)


def test_merged_runs_equal_one_run(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(240)
    whole = learn(write_codes("all.parquet", examples), tmp_path / "whole", small)
    runs = []
    for part in range(4):
        runs.append(tmp_path / f"run{part}")
        learn(write_codes(f"part{part}.parquet", examples[part::4]), runs[-1], small)
    outcome = merge_runs(runs, tmp_path / "merged")
    assert outcome.summary["fingerprint"] == whole
    assert outcome.summary["examples"] == 240
    test = str(write_codes("test.parquet", clustered(50, start=1000)))
    merged, single = evaluate_run(tmp_path / "merged", test), evaluate_run(tmp_path / "whole", test)
    assert merged["accuracy"] == single["accuracy"]
    assert merged["log_loss"] == pytest.approx(single["log_loss"])
    # The merged run can be gone on with, and forgets exactly.
    forget_in_run(tmp_path / "merged", ids=["message-9"])
    assert learn(write_codes("nine.parquet", [examples[9]]), tmp_path / "merged", {}) == whole


def test_runs_that_do_not_fit_are_not_merged(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    learn(write_codes("a.parquet", clustered(40)), tmp_path / "a", small)
    learn(write_codes("b.parquet", clustered(40, start=40)), tmp_path / "b", small | {"seed": 5})
    learn(write_codes("c.parquet", clustered(40, start=30)), tmp_path / "c", small)
    learn(write_codes("d.parquet", clustered(40, start=90), "coder-2"), tmp_path / "d", small)
    for other, expected in (("b", "seed: 0 and 5"), ("c", "message-30"), ("d", "how texts were encoded")):
        with pytest.raises(RunError, match=expected):
            merge_runs([tmp_path / "a", tmp_path / other], tmp_path / "merged")
        assert not (tmp_path / "merged").exists()
    with pytest.raises(ConfigError, match="at least two runs"):
        merge_runs([tmp_path / "a"], tmp_path / "merged")
    with pytest.raises(RunError, match="already holds a run"):
        merge_runs([tmp_path / "a", tmp_path / "a"], tmp_path / "b")


def test_a_report_is_written_again(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    learn(write_codes("stream.parquet", clustered(40)), tmp_path / "run", small)
    (tmp_path / "run" / "report.html").unlink()
    path = rebuild_report(tmp_path / "run")
    assert "stream.parquet" in path.read_text(encoding="utf-8")
