"""Runs of several labels an example: begun by lists, and exact whatever happens to them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.learning_label_sets.set_examples import DENSE_SIZE, make_sets
from tests.runtime.text_runs import Crash, crash_at_step, rejections

from everlearn import Run
from everlearn.errors import ConfigError, RunError
from everlearn.label_set import labels_in
from everlearn.runtime.commands.evaluate import evaluate_run
from everlearn.runtime.commands.learn import LearnOutcome, LearnRequest, learn_stream
from everlearn.runtime.commands.predict import predict_stream
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.folder.rebuild_report import rebuild_report
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.lineage import list_versions
from everlearn.runtime.history.merge import merge_runs
from everlearn.runtime.history.verify import verify_run
from everlearn.stream.files.codes import CodesWriter
from everlearn.types import Example

SETTINGS = {
    "learner.closed_form.num_features": 64,
    "learner.closed_form.sample_size": 64,
    "stream.batch_size": 20,
    "run.checkpoint_seconds": 0.0,
}


def write(path: Path, examples: Iterable[Example]) -> Path:
    with CodesWriter(
        path, coder_fingerprint="coder-1", coder_config={"kind": "test"}, dense_size=DENSE_SIZE
    ) as writer:
        writer.write(list(examples))
    return path


def learn(stream: Path, run: Path, settings: Mapping[str, Any] = SETTINGS, **more: Any) -> LearnOutcome:
    return learn_stream(LearnRequest(stream=str(stream), out=run, settings=settings, **more))


def write_records(path: Path, labels: Iterable[Any]) -> Path:
    rows = [
        {"id": f"r{k}", "text": f"words of text {k} {label}", "label": label}
        for k, label in enumerate(labels)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_run_that_begins_with_lists_learns_them_and_is_reported(tmp_path: Path) -> None:
    stream, test = (
        write(tmp_path / "s.parquet", make_sets(300)),
        write(tmp_path / "t.parquet", make_sets(400)[300:]),
    )
    summary = learn(stream, tmp_path / "run", test=str(test)).summary
    assert RunFolder.open_to_read(tmp_path / "run").config.task == "multilabel"
    assert summary["examples"] == summary["learned"] == 300
    assert summary["classes"] == 5
    assert 0.7 < summary["prequential_micro_f1"] < 1
    assert 0.3 < summary["prequential_subset_accuracy"] < summary["prequential_micro_f1"]
    assert summary["test_micro_f1"] > 0.85
    assert summary["labels_per_example"] == pytest.approx(
        np.mean([len(labels_in(one.target or "")) for one in make_sets(300)])
    )
    page = rebuild_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "F1 over the stream" in page
    assert "l4" in page
    figures = evaluate_run(tmp_path / "run", [str(test)])
    assert figures["micro_f1"] == summary["test_micro_f1"]
    assert figures["examples"] == 100
    answers = list(predict_stream(tmp_path / "run", str(test), top=2))
    assert {len(answer.labels or ()) for answer in answers} >= {0, 1, 2, 3}
    for answer in answers:
        assert len(answer.top) == 2
        assert answer.to_json()["labels"] == list(answer.labels or ())
    assert list_versions(tmp_path / "run").versions[-1].scores["test_micro_f1"] == summary["test_micro_f1"]


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (["x", None], "field 'label': label 2 of the list is null; leave it out"),
        (["x", ["y"]], "field 'label': label 2 of the list is a list itself; give one list of names"),
        ([" "], "field 'label': label 1 of the list is blank"),
        ([{"name": "x"}], "field 'label': label 1 of the list is no name but dict"),
    ],
)
def test_a_wrong_list_is_rejected_with_place_and_remedy(tmp_path: Path, label: Any, reason: str) -> None:
    stream = write_records(tmp_path / "s.jsonl", [["x", "y"], label, [], "x", 7, [True, 1.0]])
    learn(stream, tmp_path / "run")
    (rejected,) = rejections(tmp_path / "run")
    assert rejected["place"] == "s.jsonl:2"
    assert reason in rejected["reason"]
    with RunFolder.open_to_read(tmp_path / "run") as folder:
        targets = [arrival.example.target for _, arrival in folder.journal.examples.arrivals(1, 9)]
    assert targets == ['["x","y"]', "[]", '["x"]', '["7"]', '["1","True"]']


def test_a_list_in_a_run_of_single_labels_is_rejected_with_the_remedy(tmp_path: Path) -> None:
    learn(write_records(tmp_path / "a.jsonl", ["x", "y", "x"]), tmp_path / "run")
    learn(write_records(tmp_path / "b.jsonl", ["x", "y", "x", ["x", "y"], "y"]), tmp_path / "run")
    reasons = [one["reason"] for one in rejections(tmp_path / "run") if "list" in one["reason"]]
    assert len(reasons) == 1
    assert "--task multilabel" in reasons[0]
    with pytest.raises(ConfigError, match="task is 'classify' in the run"):
        learn(tmp_path / "b.jsonl", tmp_path / "run", {"task": "multilabel"})


def test_annotators_may_choose_several(tmp_path: Path) -> None:
    rows = [
        {
            "id": k,
            "data": {"text": f"a text of {' and '.join(chosen)} {k}"},
            "annotations": [
                {"result": [{"from_name": "mood", "type": "choices", "value": {"choices": chosen}}]}
            ],
        }
        for k, chosen in enumerate([["joy", "calm"], ["joy"], ["anger", "fear"]])
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    summary = learn(path, tmp_path / "run").summary
    assert (summary["learned"], summary["classes"], summary["rejected"]) == (3, 4, 0)


@pytest.mark.parametrize("step", [1, 4, 9])
def test_a_crash_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    stream = write(tmp_path / "s.parquet", make_sets(200))
    undisturbed = learn(stream, tmp_path / "whole").summary
    with monkeypatch.context() as patched:
        patched.setattr(Fold, "make", crash_at_step(step))
        with pytest.raises(Crash):
            learn(stream, tmp_path / "run")
    recovered = learn(stream, tmp_path / "run").summary
    for name in ("fingerprint", "examples", "learned", "prequential_micro_f1", "prequential_subset_accuracy"):
        assert recovered[name] == undisturbed[name]
    assert verify_run(tmp_path / "run").is_valid


def test_corrections_deletions_and_merging_are_exact(tmp_path: Path) -> None:
    """Two runs, corrected, of which something is deleted, merged: as if the rest had been learned at once."""
    examples = make_sets(160)
    for name, part in (("a", examples[:80]), ("b", examples[80:])):
        learn(write(tmp_path / f"{name}.parquet", part), tmp_path / name)
    corrected = [
        one.with_target(target) for one, target in zip(examples, ["[]", "l1", '["l0","new"]'], strict=False)
    ]
    outcome = learn(write(tmp_path / "c.parquet", [*corrected, examples[5]]), tmp_path / "a")
    num_other = sum(
        set(labels_in(one.target or "")) != set(labels_in(other.target or ""))
        for one, other in zip(corrected, examples, strict=False)
    )
    assert num_other >= 2
    assert any(f"{num_other} targets came" in note for note in outcome.notes)
    gone = ["e7", "e2", "e30"]
    forgotten = forget_in_run(tmp_path / "a", ids=gone)
    assert forgotten.exact
    assert forgotten.certificate is not None
    assert verify_run(tmp_path / "a", certificate=forgotten.certificate, ids=gone).is_valid
    merged = merge_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    held = {one.id: one for one in [*examples, *corrected] if one.id not in gone}
    expected = learn(write(tmp_path / "all.parquet", reversed(list(held.values()))), tmp_path / "all").summary
    assert merged["fingerprint"] == expected["fingerprint"]
    assert merged["classes"] == expected["classes"] == 5
    predicted = [
        list(predict_stream(tmp_path / name, str(tmp_path / "b.parquet"))) for name in ("merged", "all")
    ]
    assert [one.to_json() for one in predicted[0]] == [one.to_json() for one in predicted[1]]
    learn(write_records(tmp_path / "s.jsonl", ["x", "y"]), tmp_path / "single", {})
    with pytest.raises((ConfigError, RunError)):
        merge_runs([tmp_path / "merged", tmp_path / "single"], tmp_path / "both")


def test_the_guard_and_late_targets(tmp_path: Path) -> None:
    settings = SETTINGS | {"guard.enabled": True, "guard.every": 60, "guard.share": 0.3, "stream.delay": 25}
    examples = make_sets(300)
    learn(write(tmp_path / "s.parquet", examples), tmp_path / "run", settings)
    first = list_versions(tmp_path / "run")
    assert len(first.versions) >= 2
    wrong = [
        Example(id=f"w{k}", target='["l0","l1","l2","l3","l4"]', domain="wrong", code=one.code)
        for k, one in enumerate(make_sets(300, seed=5))
    ]
    learn(write(tmp_path / "w.parquet", wrong), tmp_path / "run", settings)
    verdicts = [one.verdict for one in list_versions(tmp_path / "run").decisions]
    assert "rejected" in verdicts
    assert verify_run(tmp_path / "run").is_valid


def test_labels_beyond_the_limit_are_rejected(tmp_path: Path) -> None:
    settings = SETTINGS | {"learner.closed_form.max_classes": 3}
    stream = write_records(tmp_path / "s.jsonl", [["a", "b"], ["c"], ["a", "d"], [], ["a", "c"]])
    assert learn(stream, tmp_path / "run", settings).summary["classes"] == 3
    (rejected,) = rejections(tmp_path / "run")
    assert "'d'" in rejected["reason"]


def test_what_learns_single_labels_is_refused(tmp_path: Path) -> None:
    stream = write(tmp_path / "s.parquet", make_sets(30))
    with pytest.raises(ConfigError, match=r"learner\.kind is 'gradient'"):
        learn(stream, tmp_path / "run", {"task": "multilabel", "learner.kind": "gradient"})
    with pytest.raises(ConfigError, match="by-class"):
        learn(stream, tmp_path / "run", {"stream.order": "by-class"})
    assert not (tmp_path / "run").exists()


def test_a_program_gives_sets_single_labels_and_corrections(tmp_path: Path) -> None:
    """The journal has sets, whatever is given; a list with something else is rejected, also late."""
    examples = make_sets(60)
    learn(write(tmp_path / "s.parquet", examples[:40]), tmp_path / "run")
    with Run.open(tmp_path / "run") as run:
        outcome = run.learn([*examples[40:], replace(examples[0], id="bad", target='["l0",null]')])
        assert len(outcome.offsets) == 20
        assert "label 2 of the list is null" in outcome.rejected[0].reason
        assert run.correct({"e3": "l1"}).num_changed == 1
        assert run.learn([examples[3].with_target('["l1"]')]).num_changed == 0
        assert "is null" in run.correct({"e4": '["l1",null]'}).rejected[0].reason
        for one in run.predict(examples[:5]):
            assert set(labels_in(one.label or "")) <= {"l0", "l1", "l2", "l3", "l4"}
    held = {one.id: one for one in [*examples, examples[3].with_target("l1")]}
    expected = learn(write(tmp_path / "all.parquet", held.values()), tmp_path / "all").summary
    with Run.open(tmp_path / "run") as run:
        assert run.fingerprint() == expected["fingerprint"]
    assert verify_run(tmp_path / "run").is_valid
