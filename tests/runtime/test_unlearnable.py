"""What cannot be learned is refused, or left out with a word; a step that failed never stops a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.learning_language.conftest import byte_tokenizer
from tests.runtime.text_runs import (
    Crash,
    crash_at_step,
    language_settings,
    learn,
    records,
    rejections,
    spoil,
    translation_settings,
    write_jsonl,
    write_language_model,
    write_pairs,
    write_translator,
)
from tests.runtime.word_pairs import write_encoder, write_texts
from transformers import AutoTokenizer

from everlearn.errors import InputError, ModelError, RunError
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.journal_views import show_journal
from everlearn.runtime.history.lineage import blame_example
from everlearn.runtime.history.verify import verify_run

Settings = dict[str, Any]
WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Any]]


def add_unknown_token(model: Path) -> Path:
    """Let the tokenizer know one token more than the model."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["customer-id"])
    tokenizer.save_pretrained(model)
    return model


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model to which "@" is no number."""
    model = write_language_model(tmp_path_factory.mktemp("models") / "tiny", tie_word_embeddings=False)
    return spoil(model, "@")


@pytest.fixture
def settings(spoiled: Path) -> Settings:
    # One document a step, so that a run that never met the bad ones makes the same steps.
    return language_settings(spoiled) | {
        "stream.batch_size": 1,
        "stream.piece_bytes": 4096,
        "learner.gradient.trainable": "layers:0-1",
    }


@pytest.mark.parametrize("bad", [{9}, {0, 3, 4}])
def test_a_document_whose_loss_is_no_number_is_left_out(
    tmp_path: Path, settings: Settings, bad: set[int]
) -> None:
    run = tmp_path / "run"
    everything = records(bad)
    outcome = learn(write_jsonl(tmp_path / "all.jsonl", everything), run, settings)
    clean = write_jsonl(
        tmp_path / "clean.jsonl", (one for one in everything if int(one["id"][4:]) not in bad)
    )
    assert outcome.summary["fingerprint"] == learn(clean, tmp_path / "clean", settings).summary["fingerprint"]
    told = rejections(run)
    assert sorted(one["place"] for one in told) == [f"all.jsonl, id 'doc-{k}'" for k in sorted(bad)]
    assert all("the loss is nan" in one["reason"] for one in told)
    assert any(f"{len(bad)} record" in note for note in outcome.notes)
    for k in bad:
        known = blame_example(run, f"doc-{k}")
        assert (known.role, known.is_held, known.learned) == ("quarantined", False, [])
    assert show_journal(run).counts["cannot_be_learned"] == len(bad)
    outcome_of_verify = verify_run(run)
    assert outcome_of_verify.is_valid, outcome_of_verify.failed
    done = forget_in_run(run, ids=[f"doc-{min(bad)}", "doc-5"])
    assert done.num_forgotten >= 2
    assert verify_run(run, certificate=done.certificate).is_valid
    again = learn(write_jsonl(tmp_path / "more.jsonl", [{"id": "new", "text": "she read the old book"}]), run)
    assert again.summary["learned"] == 11 - len(bad)


def test_a_guard_against_spikes_changes_nothing_of_it(tmp_path: Path, settings: Settings) -> None:
    settings |= {"learner.gradient.spike_deviations": 4.0}
    run = tmp_path / "run"
    learn(write_jsonl(tmp_path / "all.jsonl", records({4}, 6)), run, settings)
    assert len(rejections(run)) == 1
    assert verify_run(run).is_valid


def test_a_crash_while_it_is_left_out_changes_nothing(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = write_jsonl(tmp_path / "all.jsonl", records({4}))
    expected = learn(stream, tmp_path / "undisturbed", settings).summary["fingerprint"]
    with RunFolder.open_to_read(tmp_path / "undisturbed") as folder:
        (revision,) = folder.history.revisions()
    assert revision.kind == "unlearnable"
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Fold, "make", crash_at_step(revision.last_step + 1))
        with pytest.raises(Crash):
            learn(stream, run, settings)
    assert learn(stream, run).summary["fingerprint"] == expected
    assert verify_run(run).is_valid


def test_a_strict_run_stops_at_it(tmp_path: Path, settings: Settings) -> None:
    run = tmp_path / "run"
    with pytest.raises(InputError, match=r"doc-4.*the loss is nan.*--no-strict"):
        learn(write_jsonl(tmp_path / "all.jsonl", records({4})), run, settings | {"stream.strict": True})
    more = write_jsonl(tmp_path / "more.jsonl", [{"id": "new", "text": "she read the old book"}])
    learned = learn(more, run, {"stream.strict": False}).summary["learned"]
    assert learned >= 4
    assert [one["place"] for one in rejections(run)] == ["more.jsonl, id 'doc-4'"]


def test_a_run_that_stands_before_such_a_step_goes_on(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a process leaves it that was killed between journaling and making the step.
    stream = write_jsonl(tmp_path / "all.jsonl", [*records({1}, 2), *records(set(), 6)[2:]])
    for name, must_forget in (("forget", True), ("learn", False)):
        run = tmp_path / name
        learn(write_jsonl(tmp_path / "first.jsonl", records(set(), 1)), run, settings)
        with RunFolder.open_to_read(run) as folder:
            last = folder.journal.last_step
        with monkeypatch.context() as patch:
            patch.setattr(Fold, "make", crash_at_step(last + 1))
            with pytest.raises(Crash):
                learn(stream, run)
        if must_forget:
            assert forget_in_run(run, ids=["doc-0"]).num_forgotten == 1
        learn(stream, run)
        assert [one["place"] for one in rejections(run) if "nan" in one["reason"]] == [
            "all.jsonl, id 'doc-1'"
        ]
        assert verify_run(run).is_valid
        assert blame_example(run, "doc-5").is_held


def test_weights_that_diverged_are_not_blamed_on_documents(tmp_path: Path, settings: Settings) -> None:
    run = tmp_path / "run"
    settings |= {"learner.gradient.learning_rate": 1e30, "learner.gradient.max_gradient_norm": 0.0}
    with pytest.raises(ModelError, match="everlearn rollback"):
        learn(write_jsonl(tmp_path / "all.jsonl", records(set())), run, settings)
    with RunFolder.open_to_read(run) as folder:
        assert not folder.history.revisions()
        assert folder.journal.last_step > 0


@pytest.mark.parametrize("kind", ["lm", "seq2seq", "gradient", "closed-form"])
def test_a_token_without_a_row_is_refused_before_it_is_journaled(tmp_path: Path, kind: str) -> None:
    model, stream = tmp_path / "model", tmp_path / "all.jsonl"
    if kind == "lm":
        settings = language_settings(add_unknown_token(write_language_model(model)))
        lines = write_jsonl(stream, records(set(), 4)).read_text().splitlines()
        bad = {"id": "bad", "text": "a customer-id is here"}
    elif kind == "seq2seq":
        settings = translation_settings(add_unknown_token(write_translator(model)))
        lines = write_pairs(stream, 8).read_text().splitlines()
        bad = {"id": "bad", "source": "a man", "target": "a customer-id"}
    else:
        more = (
            {"learner.kind": "gradient"} if kind == "gradient" else {"learner.closed_form.num_features": 64}
        )
        settings = {"model.name": str(add_unknown_token(write_encoder(model))), "run.threads": 1} | more
        lines = write_texts(stream, 12).read_text().splitlines()
        bad = {"id": "bad", "text": "w1 customer-id w2", "label": "same"}
    stream.write_text("\n".join([*lines[:3], json.dumps(bad), *lines[3:]]) + "\n")
    run = tmp_path / "run"
    summary = learn(stream, run, settings).summary
    (told,) = rejections(run)
    assert "all.jsonl" in told["place"]
    assert "'customer-id'" in told["reason"]
    assert "rows of the model's embedding" in told["reason"]
    assert summary["rejected"] == 1
    assert verify_run(run).is_valid
    with pytest.raises(RunError, match="no example has this id"):
        blame_example(run, "bad")


@pytest.mark.parametrize("delay", [0, 5])
def test_a_text_that_a_classifier_cannot_learn_is_left_out(tmp_path: Path, delay: int) -> None:
    model = spoil(write_encoder(tmp_path / "model"), "w7")
    stream = write_texts(tmp_path / "all.jsonl", 60)
    lines = stream.read_text().splitlines()
    bad = [k for k, line in enumerate(lines) if "w7" in json.loads(line)["text"].split()]
    assert 1 < len(bad) < 20
    run = tmp_path / "run"
    settings = {
        "model.name": str(model),
        "learner.kind": "gradient",
        "run.threads": 1,
        "stream.batch_size": 8,
    }
    outcome = learn(stream, run, settings | {"stream.delay": delay, "learner.gradient.replay": 10})
    assert outcome.summary["learned"] == 60 - len(bad)
    assert {one["place"] for one in rejections(run)} == {f"all.jsonl, id 'message-{k}'" for k in bad}
    assert verify_run(run).is_valid
    for k in (bad[0], bad[-1]):
        assert blame_example(run, f"message-{k}").role == "quarantined"


def test_a_later_target_that_cannot_be_learned_is_refused(tmp_path: Path) -> None:
    model = add_unknown_token(write_translator(tmp_path / "model"))
    run = tmp_path / "run"
    first = [{"id": f"{k}", "source": "a man", "target": "ein mann"} for k in range(8)]
    first.append({"id": "late", "source": "two balls"})
    learn(write_jsonl(tmp_path / "all.jsonl", first), run, translation_settings(model))
    later = [
        {"id": "late", "target": "customer-id"},
        {"id": "3", "target": "der customer-id"},
        {"id": "4", "target": "hund"},
    ]
    outcome = learn(write_jsonl(tmp_path / "late.jsonl", later), run)
    assert {one["place"] for one in rejections(run)} == {"late.jsonl, id 'late'", "late.jsonl, id '3'"}
    assert blame_example(run, "3").target == "ein mann"
    assert blame_example(run, "4").target == "hund"
    assert blame_example(run, "late").target is None
    assert outcome.summary["rejected"] == 2
    assert verify_run(run).is_valid


@pytest.mark.parametrize("number", [1, 3])
def test_running_out_of_memory_leaves_a_run_that_goes_on(
    tmp_path: Path,
    write_codes: WriteCodes,
    clustered: Clustered,
    small: Settings,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    stream, run = write_codes("stream.parquet", clustered(200)), tmp_path / "run"
    expected = learn(stream, tmp_path / "undisturbed", small).summary
    make = Fold.make

    def greedy(self: Fold, step: Any, predictions: Any) -> Any:
        result = make(self, step, predictions)
        if step.step.step == number:
            torch.empty(1 << 55)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(Fold, "make", greedy)
        with pytest.raises(RunError, match="--batch-size"):
            learn(stream, run, small)
    assert run.exists() == (number > 1)
    if number > 1:
        with RunFolder.open_to_read(run) as folder:
            assert folder.journal.last_step == number - 1
    again = learn(stream, run, small | {"stream.batch_size": 32})
    assert again.summary["fingerprint"] == expected["fingerprint"]
    assert again.summary["examples"] == expected["examples"] == 200
    assert verify_run(run).is_valid


def test_a_step_too_large_for_memory_is_taken_back_at_the_next_start(
    tmp_path: Path,
    write_codes: WriteCodes,
    clustered: Clustered,
    small: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream, run = write_codes("stream.parquet", clustered(200)), tmp_path / "run"
    with monkeypatch.context() as patch:  # the system kills what takes too much
        patch.setattr(Fold, "make", crash_at_step(3))
        with pytest.raises(Crash):
            learn(stream, run, small)
    make = Fold.make

    def greedy(self: Fold, step: Any, predictions: Any) -> Any:
        if step.step.step == 3:
            torch.empty(1 << 55)
        return make(self, step, predictions)

    with monkeypatch.context() as patch:
        patch.setattr(Fold, "make", greedy)
        with pytest.raises(RunError, match="memory ran out"):
            forget_in_run(run, ids=["message-3"])
        assert forget_in_run(run, ids=["message-3"]).num_forgotten == 1
    assert learn(stream, run).summary["examples"] == 200
    assert verify_run(run).is_valid


def test_the_byte_tokenizer_reads_what_is_spoiled() -> None:
    assert byte_tokenizer().tokenize("@") == ["@"]
