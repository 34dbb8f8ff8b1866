"""A task of one folder and one line: it learns, crashes, is guarded, forgets and reports as all others do."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.tasks.tagging.task import Tagging

from everlearn.runtime.commands.evaluate import evaluate_run
from everlearn.runtime.commands.learn import LearnOutcome, LearnRequest, learn_stream
from everlearn.runtime.commands.predict import predict_texts
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.folder.rebuild_report import rebuild_report
from everlearn.runtime.history.lineage import list_versions
from everlearn.runtime.history.verify import verify_run
from everlearn.runtime.run import Run
from everlearn.tasks.table import TASKS
from everlearn.types import Example

WORDS = {"the": "D", "a": "D", "dog": "N", "cat": "N", "house": "N", "runs": "V", "sleeps": "V", "old": "A"}
SETTINGS = {
    "task": "tag",
    "stream.batch_size": 10,
    "guard.enabled": True,
    "guard.every": 60,
    "guard.share": 0.3,
    "run.checkpoint_seconds": 0.0,
}


@pytest.fixture(autouse=True)
def one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, Tagging.name, Tagging())


class Crash(BaseException):
    """As of a process that is killed."""


def write(path: Path, count: int, *, first: int = 0, without: frozenset[str] = frozenset()) -> Path:
    draws = random.Random(first)
    rows = []
    for k in range(first, first + count):
        words = draws.choices(list(WORDS), k=draws.randint(2, 6))
        rows.append({"id": f"t{k}", "text": " ".join(words), "label": " ".join(WORDS[w] for w in words)})
    if first == 0:
        rows.insert(5, {"id": "odd", "text": "the old dog", "label": "D N"})
    path.write_text("".join(json.dumps(one) + "\n" for one in rows if one["id"] not in without), "utf-8")
    return path


def learn(stream: Path, run: Path, **more: Any) -> LearnOutcome:
    return learn_stream(LearnRequest(stream=str(stream), out=run, settings=SETTINGS, **more))


def test_it_learns_is_guarded_and_reports(tmp_path: Path) -> None:
    stream, test = write(tmp_path / "s.jsonl", 200), write(tmp_path / "t.jsonl", 30, first=900)
    outcome = learn(stream, tmp_path / "run", test=str(test))
    summary = outcome.summary
    assert summary["examples"] == 200
    assert summary["rejected"] == 1
    assert "3 words and 2 tags" in (tmp_path / "run" / "rejected.jsonl").read_text(encoding="utf-8")
    assert 0.7 < summary["prequential_tags"] < 1
    assert summary["test_tags"] == 1.0
    listed = list_versions(tmp_path / "run")
    assert [one.verdict for one in listed.decisions] == ["accepted"] * len(listed.versions)
    assert len(listed.versions) >= 3
    assert listed.versions[-1].scores["recent_texts_right"] == 1.0
    assert rebuild_report(tmp_path / "run").read_text(encoding="utf-8").startswith("<title>s.jsonl")
    assert predict_texts(tmp_path / "run", ["a cat sleeps"])[0].top == (("D N V", 1.0),)
    assert evaluate_run(tmp_path / "run", [str(test)])["test_tags"] == 1.0


def test_poison_is_refused(tmp_path: Path) -> None:
    learn(write(tmp_path / "s.jsonl", 200), tmp_path / "run")
    wrong = [{"id": f"w{k}", "text": "the dog runs", "label": "V V V", "domain": "wrong"} for k in range(300)]
    (tmp_path / "w.jsonl").write_text("".join(json.dumps(one) + "\n" for one in wrong), "utf-8")
    learn(tmp_path / "w.jsonl", tmp_path / "run")
    assert "rejected" in [one.verdict for one in list_versions(tmp_path / "run").decisions]
    assert predict_texts(tmp_path / "run", ["the dog runs"])[0].top == (("D N V", 1.0),)


@pytest.mark.parametrize("step", [1, 7, 13])
def test_a_crash_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    stream = write(tmp_path / "s.jsonl", 200)
    undisturbed = learn(stream, tmp_path / "whole").summary
    made = Fold.make

    def crashing(self: Fold, new: Any, predictions: Any) -> Any:
        if new.step.step == step:
            raise Crash
        return made(self, new, predictions)

    with monkeypatch.context() as patched:
        patched.setattr(Fold, "make", crashing)
        with pytest.raises(Crash):
            learn(stream, tmp_path / "run")
    recovered = learn(stream, tmp_path / "run").summary
    for name in ("fingerprint", "examples", "learned", "words", "prequential_tags"):
        assert recovered[name] == undisturbed[name]
    assert verify_run(tmp_path / "run").is_valid


def test_it_forgets(tmp_path: Path) -> None:
    never = frozenset({"t3", "t50", "t119"})
    settings = {name: value for name, value in SETTINGS.items() if not name.startswith("guard.")}
    for name, without in (("run", frozenset[str]()), ("other", never)):
        stream = write(tmp_path / "s.jsonl", 120, without=without)
        learn_stream(LearnRequest(stream=str(stream), out=tmp_path / name, settings=settings))
    outcome = forget_in_run(tmp_path / "run", ids=sorted(never))
    assert outcome.num_forgotten == 3
    assert outcome.exact
    with Run.open(tmp_path / "other") as other:
        assert outcome.fingerprint_after == other.fingerprint() != outcome.fingerprint_before
    assert outcome.certificate is not None
    assert verify_run(tmp_path / "run", certificate=outcome.certificate, ids=sorted(never)).is_valid


def test_a_program_has_it_too(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", {"task": "tag"}) as run:
        run.learn([Example(id="1", text="the dog", target="D N"), Example(id="2", text="a cat")])
        assert run.predict(["the dog"])[0].label == "D N"
        assert run.feedback({"2": "A V"}).num_changed == 1
        assert run.predict(["a dog"])[0].label == "A N"
        assert run.correct({"2": "D N"}).num_changed == 1
        assert run.predict(["a cat"])[0].label == "D N"
        assert run.forget(["1"]).num_forgotten == 1
        assert run.stats()["words"] == 2
