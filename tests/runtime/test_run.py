"""``Run``: what a program does with a run is what the command line would have done, from any thread."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.conftest import SMALL, clustered_examples, digest_of, write_codes_file
from tests.runtime.text_runs import learn

from everlearn import Run
from everlearn.errors import ConfigError, EverlearnError, InputError, RunError
from everlearn.runtime.commands.predict import predict_stream
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.history.verify import verify_run
from everlearn.types import Example

FIRST = 40
"""Examples that a run has learned before a program opens it."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    learn(write_codes_file(tmp_path / "first.parquet", clustered_examples(FIRST)), tmp_path / "run", SMALL)
    return tmp_path / "run"


def batches(count: int, size: int = 8) -> list[list[Example]]:
    examples = clustered_examples(count * size, start=FIRST)
    return [examples[start : start + size] for start in range(0, len(examples), size)]


def said(run: Run) -> list[tuple[str | None, list[float]]]:
    return [(one.label, one.probabilities.tolist()) for one in run.predict(clustered_examples(9, start=900))]


def test_it_learns_what_the_command_line_learns(path: Path, tmp_path: Path) -> None:
    examples = clustered_examples(96, start=FIRST)
    learn(write_codes_file(tmp_path / "first.parquet", clustered_examples(FIRST)), tmp_path / "other", SMALL)
    learn(write_codes_file(tmp_path / "more.parquet", examples), tmp_path / "other")
    with Run.open(path) as run:
        for start in range(0, 96, 32):
            outcome = run.learn(examples[start : start + 32])
            assert list(outcome.offsets.values()) == list(range(FIRST + start + 1, FIRST + start + 33))
            assert all(one.label is not None for one in outcome.predictions.values())
        run.settle()
        with Run.open(tmp_path / "other") as other:
            assert run.fingerprint() == other.fingerprint()
            assert said(run) == said(other)
            for name in ("examples", "prequential_accuracy", "prequential_log_loss"):
                assert run.stats()[name] == other.stats()[name]


@settings(max_examples=12)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6), settles=st.booleans())
def test_who_reads_a_run_is_told_what_its_writer_says(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], settles: bool
) -> None:
    folder, taken = tmp_path_factory.mktemp("run"), FIRST
    path = folder / "run"
    learn(write_codes_file(folder / "first.parquet", clustered_examples(FIRST)), path, SMALL)
    with Run.open(path) as run:
        for size in sizes:
            run.learn(clustered_examples(size, start=taken))
            taken += size
        if settles:
            run.settle()
        run.save()
        expected = said(run)
        with Run.open(path, mode="read") as beside:
            assert said(beside) == expected
    with Run.open(path, mode="read") as reader:
        assert said(reader) == expected
    with Run.open(path) as again:
        assert said(again) == expected
    asked = write_codes_file(folder / "asked.parquet", clustered_examples(9, start=900))
    answers = list(predict_stream(path, str(asked), top=1))
    assert [answer.top[0] for answer in answers] == [
        (label, max(probabilities)) for label, probabilities in expected
    ]


def test_predictions_do_not_move_the_fold(path: Path, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}
    for name, asks in (("quiet", False), ("asked", True)):
        copy = tmp_path / name
        subprocess.run(["cp", "-r", path, copy], check=True)
        with Run.open(copy) as run:
            made = []
            for batch in batches(12):
                if asks:
                    said(run)
                made.append({id_: one.label for id_, one in run.learn(batch).predictions.items()})
            seen[name] = made, said(run), run.fingerprint()
    assert seen["quiet"] == seen["asked"]
    assert digest_of(tmp_path / "quiet") == digest_of(tmp_path / "asked")


def test_any_thread_predicts_while_another_learns(path: Path) -> None:
    with Run.open(path) as run:
        stop, failures, asked = threading.Event(), list[BaseException](), [0] * 4

        def ask(number: int) -> None:
            while not stop.is_set():
                try:
                    assert all(label is not None for label, _ in said(run))
                    run.stats()
                    asked[number] += 1
                except BaseException as error:
                    failures.append(error)
                    return

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for batch in batches(15):
            run.learn(batch)
        run.forget(["message-3"])
        run.rollback(1)
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert min(asked) > 0


def test_threads_that_learn_take_turns(path: Path) -> None:
    with Run.open(path) as run:
        threads = [threading.Thread(target=run.learn, args=(batch,)) for batch in batches(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert run.stats()["learned"] == FIRST + 80
    assert verify_run(path).is_valid


def test_targets_come_late_and_are_corrected(path: Path) -> None:
    batch = batches(1)[0]
    with Run.open(path) as run:
        never = run.fingerprint()
        outcome = run.learn([one.with_target(None) for one in batch])
        assert len(outcome.predictions) == 8
        assert run.fingerprint() == never
        assert run.feedback({one.id: str(one.target) for one in batch}).num_changed == 8
        right = run.fingerprint()
        run.correct({batch[0].id: "quite another"})
        assert run.fingerprint() != right
        run.correct({batch[0].id: str(batch[0].target)})
        assert run.fingerprint() == right
        assert [one.kind for one in run.feedback({batch[0].id: str(batch[0].target)}).rejected] == [
            "duplicate"
        ]
        assert len(run.feedback({"nobody": "label1"}).rejected) == 1
        with pytest.raises(InputError, match="has no example 'nobody'"):
            run.correct({batch[1].id: "label1", "nobody": "label1"})
        assert run.fingerprint() == right
        assert run.forget([one.id for one in batch]).exact
        assert run.fingerprint() == never
        assert [one.kind for one in run.learn(batch[:1]).rejected] == ["deleted"]


def test_versions_are_asked_and_gone_back_to(path: Path) -> None:
    with Run.open(path) as run:
        before = said(run)
        for batch in batches(6):
            run.learn(batch)
        run.settle()
        run.save()
        assert [one.num_examples for one in run.versions().versions] == [FIRST, FIRST + 48]
        texts = clustered_examples(9, start=900)
        old = [(one.label, one.probabilities.tolist()) for one in run.predict(texts, version=1)]
        assert old == before != said(run)
        assert run.rollback(1).num_set_aside == 7
        assert said(run) == before
        with pytest.raises(RunError, match="has no version 9"):
            run.predict(texts, version=9)


def test_a_reader_follows_a_writer(path: Path) -> None:
    with Run.open(path) as run, Run.open(path, mode="read") as reader:
        before = said(reader)
        for batch in batches(4):
            run.learn(batch)
        assert said(reader) == before
        run.settle()
        run.save()
        assert said(reader) == said(run) != before
        assert reader.stats()["examples"] == FIRST + 32
        with pytest.raises(RunError, match="not open for writing"):
            reader.learn(batches(1)[0])
        with pytest.raises(RunError, match="open in this process already"):
            Run.open(path)


def test_the_guard_decides_what_is_served(tmp_path: Path) -> None:
    guarded = SMALL | {"guard.enabled": True, "guard.every": 80, "guard.share": 0.25, "guard.level": 0.05}
    examples = clustered_examples(400)
    learn(write_codes_file(tmp_path / "first.parquet", examples[:160]), tmp_path / "run", guarded)
    wrong = [one.with_target(f"label{(int(str(one.target)[-1]) + 1) % 5}") for one in examples[160:320]]
    with Run.open(tmp_path / "run") as run:
        before = said(run)
        outcomes = [run.learn(wrong[start : start + 16]) for start in range(0, 160, 16)]
        assert "rejected" in [one.verdict for one in run.versions().decisions]
        assert [one.version for one in outcomes] == [None] * 10
        assert said(run) == before
        made = [run.learn(examples[start : start + 20]).version for start in range(320, 400, 20)]
        assert [one for one in made if one is not None] == [run.versions().serving]


def test_a_step_that_fails_leaves_the_run_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = batches(3)
    with Run.open(path) as run:
        run.learn(first)
        before = run.fingerprint(), said(run), run.stats()["examples"]
        with monkeypatch.context() as patched:
            patched.setattr(Fold, "make", _raising_once(MemoryError("out of memory")))
            with pytest.raises(RunError, match="memory ran out"):
                run.learn(second)
            assert (run.fingerprint(), said(run), run.stats()["examples"]) == before
        run.learn(second)
        run.learn(third)
        assert run.stats()["learned"] == FIRST + 24
    assert verify_run(path).is_valid


def test_a_run_that_cannot_be_brought_back_is_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, _ = batches(3)
    with Run.open(path) as run:
        run.learn(first)
        fingerprint = run.fingerprint()
        with monkeypatch.context() as patched:
            patched.setattr(Fold, "make", _raising_once(MemoryError("out of memory"), times=9))
            with pytest.raises(RunError, match="memory ran out"):
                run.learn(second)
        with pytest.raises(RunError, match="is closed here; open it again"):
            run.learn(second)
        with pytest.raises(RunError, match="is closed here; open it again"):
            run.predict(["a text"])
    with Run.open(path) as run:
        assert run.fingerprint() == fingerprint  # what learn returned from is there
        run.learn(second)
    assert verify_run(path).is_valid


def _raising_once(error: BaseException, times: int = 1) -> Any:
    made, calls = Fold.make, [0]

    def make(*given: Any) -> Any:
        calls[0] += 1
        if calls[0] <= times:
            raise error
        return made(*given)

    return make


CRASHING = """
import os, signal, sys
from everlearn import Run
from tests.runtime.test_run import batches
run = Run.open(sys.argv[1])
for number, batch in enumerate(batches(6)):
    run.learn(batch)
    if number == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("number", [0, 4])
def test_what_learn_returned_from_survives(path: Path, tmp_path: Path, number: int) -> None:
    subprocess.run(["cp", "-r", path, tmp_path / "whole"], check=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", CRASHING, path, str(number)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    with Run.open(tmp_path / "whole") as whole, Run.open(path) as run:
        assert run.stats()["learned"] == FIRST + 8 * (number + 1)
        for batch in batches(6):  # whoever does not know what was taken gives it again
            whole.learn(batch)
            run.learn(batch)
        assert run.fingerprint() == whole.fingerprint()
        run.settle()
        whole.settle()
        assert said(run) == said(whole)
    assert verify_run(path).is_valid


ACTIONS = st.lists(
    st.sampled_from(["learn", "late", "correct", "forget", "settle", "save", "reopen", "predict"]),
    min_size=1,
    max_size=12,
)


@given(actions=ACTIONS, seed=st.integers(0, 100))
@settings(max_examples=12, deadline=None)
def test_any_order_of_calls_comes_to_the_set_of_examples(
    tmp_path_factory: pytest.TempPathFactory, actions: list[str], seed: int
) -> None:
    place = tmp_path_factory.mktemp("any")
    learn(write_codes_file(place / "first.parquet", clustered_examples(FIRST)), place / "run", SMALL)
    held = {one.id: one for one in clustered_examples(FIRST)}
    fresh = _numbered(seed)
    run = Run.open(place / "run")
    for action in actions:
        known = sorted(held)
        if action == "learn":
            batch = [next(fresh) for _ in range(5)]
            run.learn(batch)
            held |= {one.id: one for one in batch}
        elif action == "late":
            late = next(fresh)
            run.learn([late.with_target(None)])
            run.feedback({late.id: "label2"})
            held[late.id] = late.with_target("label2")
        elif action == "correct":
            chosen = known[seed % len(known)]
            run.correct({chosen: "label3"})
            held[chosen] = held[chosen].with_target("label3")
        elif action == "forget" and len(known) > 5:
            chosen = known[(7 * seed) % len(known)]
            assert run.forget([chosen]).num_forgotten == 1
            del held[chosen]
        elif action == "settle":
            run.settle()
        elif action == "save":
            run.save()
        elif action == "reopen":
            run.close()
            run = Run.open(place / "run")
        else:
            said(run)
    with run:
        learn(write_codes_file(place / "set.parquet", list(held.values())), place / "other", SMALL)
        with Run.open(place / "other") as other:
            assert run.fingerprint() == other.fingerprint()
            run.settle()
            other.settle()
            assert said(run) == said(other)


def _numbered(seed: int) -> Iterator[Example]:
    yield from clustered_examples(400, start=1_000 + 500 * seed)


def test_nothing_of_the_process_is_changed(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = batches(2)
    with Run.open(path) as run:
        run.learn(first)  # libraries set variables of their own when they are imported
    before = _process()
    with Run.open(path) as run:
        run.learn(second)
        run.predict(clustered_examples(3, start=900))
        run.save()
    assert _process() == before
    assert capfd.readouterr() == ("", "")


def _process() -> tuple[Any, ...]:
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    switches = gc.isenabled(), gc.get_freeze_count(), torch.get_num_threads(), os.getcwd()
    return (*handlers, *switches, dict(os.environ))


def test_wrong_use_is_told(path: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        Run.open(tmp_path / "nothing", mode="read")
    with pytest.raises(ConfigError, match=r"unknown setting"):
        Run.open(path, {"stream.batch": 1})
    with pytest.raises(ConfigError, match="seed is 0 in the run"):
        Run.open(path, {"seed": 1})
    run = Run.open(path)
    with pytest.raises(InputError, match="text 2 is empty"):
        run.predict(["a", "  "])
    assert run.predict([]) == []
    before = run.fingerprint()
    assert run.learn([]).offsets == {}
    twice = batches(1)[0][:1] * 2
    assert [one.kind for one in run.learn(twice).rejected] == ["duplicate"]
    with pytest.raises(ConfigError, match="say what to forget"):
        run.forget()
    with pytest.raises(RunError, match="has no version 7"):
        run.rollback(7)
    assert run.fingerprint() != before
    run.close()
    run.close()
    with pytest.raises(EverlearnError, match="closed"):
        run.predict(["a"])
    with pytest.raises(EverlearnError, match="closed"):
        run.learn(twice)


def test_an_interrupt_leaves_the_run_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, _ = batches(3)
    with Run.open(path) as run:
        run.learn(first)
        with monkeypatch.context() as patched:
            patched.setattr(Fold, "make", _raising_once(KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                run.learn(second)
    with Run.open(path) as run:
        for batch in (first, second):
            run.learn(batch)
        assert run.stats()["learned"] == FIRST + 16
    assert verify_run(path).is_valid


def test_what_is_forgotten_is_served_no_longer(tmp_path: Path) -> None:
    guarded = SMALL | {"guard.enabled": True, "guard.every": 80, "guard.share": 0.25}
    examples = clustered_examples(160)
    learn(write_codes_file(tmp_path / "first.parquet", examples), tmp_path / "run", guarded)
    with Run.open(tmp_path / "run") as run, Run.open(tmp_path / "run", mode="read") as reader:
        texts = clustered_examples(9, start=900)
        before = said(run), [one.probabilities.tolist() for one in reader.predict(texts, version=1)]
        run.forget([one.id for one in examples[:60]])
        after = said(run), [one.probabilities.tolist() for one in reader.predict(texts, version=1)]
        assert after[0] != before[0]
        assert after[1] != before[1]
        assert after[0] == said(reader)


def test_wrong_calls_cost_nothing_and_put_off_no_checkpoint(path: Path) -> None:
    with Run.open(path, {"run.checkpoint_seconds": 0.2}) as run:
        for number, batch in enumerate(batches(30, size=2)):
            run.learn(batch)
            with pytest.raises(RunError):
                run.rollback(99)
            with pytest.raises(InputError):
                run.learn([None])  # type: ignore[list-item]
            if number % 10 == 0:
                time.sleep(0.25)
        assert len(list((path / "checkpoints").glob("step-*"))) >= 2
        assert run.stats()["seconds"] > 0.7


def test_what_is_given_is_taken_as_streams_take_it(path: Path) -> None:
    code = clustered_examples(1, start=700)[0].code
    with Run.open(path) as run:
        given = [Example(id="x", text="  "), Example(id="y", text="a", target=" ", code=code)]
        outcome = run.learn([*given, Example(id="", text="b", target="label1", code=code)])
        assert [one.reason for one in outcome.rejected] == ["its text is empty", "its id is empty"]
        assert list(outcome.offsets) == ["y"]
        assert run.feedback({"y": "label1"}).num_changed == 1
        step = run.learn([]).step
        assert run.feedback({}).step == step
        for wrong in ("a text", [3], [None]):
            with pytest.raises(InputError):
                run.predict(wrong)  # type: ignore[arg-type]
        for ids in ("12", "message-1"):
            with pytest.raises(InputError, match="give a list of ids"):
                run.forget(ids)
        with pytest.raises(RunError, match="being changed"):
            run._change(lambda _: run.learn(batches(1)[0]))
    with pytest.raises(ConfigError, match="mode must be"):
        Run.open(path, mode="r")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="seed has no effect where a run is read"):
        Run.open(path, {"seed": 0}, mode="read")


def test_a_strict_run_takes_nothing_of_a_batch_that_it_cannot_use(path: Path) -> None:
    first, second = batches(2)
    with Run.open(path, {"stream.strict": True}) as run:
        run.learn(first)
        before = run.fingerprint(), run.stats()["examples"]
        with pytest.raises(InputError, match="no earlier example has the id 'nobody'"):
            run.learn([*second[:3], Example(id="nobody", target="label1")])
        assert (run.fingerprint(), run.stats()["examples"]) == before
        assert len(run.learn(second).offsets) == 8
    with Run.open(path) as run:  # after a crash the last batch is given again
        assert [one.kind for one in run.learn(second).rejected] == ["duplicate"] * 8


def test_targets_that_are_late_by_rule_are_learned_when_it_settles(path: Path) -> None:
    with Run.open(path, {"stream.delay": 10}) as run:
        for batch in batches(3, size=8):
            run.learn(batch)
        assert run.stats()["learned"] == FIRST + 14
        run.settle()
        assert run.stats()["learned"] == FIRST + 24


def test_an_empty_folder_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    settings = {"learner.kind": "gradient", "model.name": str(tmp_path / "no model")}
    with pytest.raises(EverlearnError):
        Run.open(tmp_path / "mine", settings)
    assert list((tmp_path / "mine").iterdir()) == []
    with pytest.raises(EverlearnError):
        Run.open(tmp_path / "other", settings)
    assert not (tmp_path / "other").exists()


def test_what_is_given_in_another_shape_is_taken_or_told(path: Path) -> None:
    with Run.open(path, {"stream": {"delay": 0}}) as run:
        run.learn([replace(example, fields={"customer": "ab"}) for example in batches(1)[0]])
        wrong: list[tuple[Callable[[Any], object], Any]] = [
            (run.feedback, ["m1"]),
            (run.correct, {"m1": None}),
            (run.correct, {"m1": " "}),
            (run.predict, None),
            (lambda where: run.forget(where=where), ["domain=x"]),
            (lambda where: run.forget(where=where), [("a", "b", "c")]),
        ]
        for call, what in wrong:
            with pytest.raises(InputError):
                call(what)
        assert run.forget(where={"customer": "ab"}).num_forgotten == 8
    for others in ({5: 6}, ["seed"]):
        with pytest.raises(ConfigError, match="give settings by name"):
            Run.open(path, others)  # type: ignore[arg-type]
