"""Runs of language models whose vocabulary grows in the middle of the stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runtime.conftest import digest_of, status_of
from tests.runtime.text_runs import (
    Crash,
    crash_at_step,
    documents,
    language_settings,
    learn,
    write_jsonl,
    write_language_model,
)

from everlearn.errors import ConfigError
from everlearn.learning.language import LanguageLearner
from everlearn.runtime.commands.evaluate import evaluate_run
from everlearn.runtime.commands.export import export_run
from everlearn.runtime.commands.generate import GenerateRequest, generate_text
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.fold.served_learner import open_learner
from everlearn.runtime.folder.rebuild_report import rebuild_report
from everlearn.runtime.guard.guard import Guard
from everlearn.runtime.history.lineage import list_versions
from everlearn.runtime.history.rollback import rollback_run
from everlearn.runtime.history.verify import verify_run

Settings = dict[str, Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def settings(model: Path) -> Settings:
    return language_settings(
        model,
        stream__batch_size=2,
        learner__vocabulary__words=6,
        learner__vocabulary__watch_bytes=400,
        learner__vocabulary__alone_steps=2,
    )


def texts(path: Path, count: int = 12, *, seed: int = 0, name: str = "d") -> Path:
    return write_jsonl(
        path,
        (
            {"id": f"{name}{k}", "text": text, "domain": "odd" if k % 2 else None}
            for k, text in enumerate(documents(count, seed=seed))
        ),
    )


def learner_of(run: Path) -> LanguageLearner:
    folder, learner = open_learner(run)
    folder.close()
    assert isinstance(learner, LanguageLearner)
    return learner


def test_the_run_says_what_grew(tmp_path: Path, settings: Settings) -> None:
    run = tmp_path / "run"
    outcome = learn(texts(tmp_path / "a.jsonl"), run, settings)
    summary = outcome.summary
    assert 3 <= summary["vocabulary_words"] <= 6
    assert 0.2 < summary["vocabulary_saved"] < 1
    assert set(summary["vocabulary_tokens_per_word_before"]) == {"text", "odd"}
    assert any("Vocabulary grown by " in note for note in outcome.notes)
    assert summary["bytes"] == sum(len(text.encode()) for text in documents(12))
    assert summary["tokens"] < summary["bytes"]
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "Vocabulary grown by " in report
    (run / "report.html").unlink()
    assert "tokens they save" in rebuild_report(run).read_text(encoding="utf-8")
    assert verify_run(run).is_valid
    without = {name: value for name, value in settings.items() if not name.startswith("learner.vocabulary.")}
    fixed = learn(texts(tmp_path / "a.jsonl"), tmp_path / "fixed", without)
    assert "vocabulary_words" not in fixed.summary
    early = learn(texts(tmp_path / "b.jsonl", 2), tmp_path / "early", settings)
    assert any("has not grown yet" in note for note in early.notes)
    with pytest.raises(ConfigError, match=r"learner.vocabulary.words has no effect where task = 'classify'"):
        learn(texts(tmp_path / "a.jsonl"), tmp_path / "other", {"learner.vocabulary.words": 3})


@pytest.mark.parametrize("trainable", ["lora", "all"])
def test_interrupted_and_crashed_around_the_growth_equals_undisturbed(
    tmp_path: Path, settings: Settings, trainable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings |= {"learner.gradient.trainable": trainable, "learner.gradient.methods": {"distillation": {}}}
    settings |= {"learner.gradient.average_decay": 0.9}
    stream = texts(tmp_path / "a.jsonl")
    whole = learn(stream, tmp_path / "whole", settings).summary
    run = tmp_path / "run"
    grown = 0
    # A crash in every step, each after an interruption: before the growth, at it, behind it.
    for step in range(2, 7):
        part = learn(stream, run, settings if step == 2 else None, batches=1)
        assert part.interrupted
        grown += "vocabulary_words" in part.summary
        with monkeypatch.context() as patch:
            patch.setattr(Fold, "make", crash_at_step(2 * step - 2))
            with pytest.raises(Crash):
                learn(stream, run)
    assert 0 < grown < 5
    rest = learn(stream, run).summary
    for name in ("fingerprint", "tokens", "bytes", "prequential_bits_per_byte", "vocabulary_saved"):
        assert rest[name] == whole[name]
    assert digest_of(run) == digest_of(tmp_path / "whole")
    assert status_of(run).scores["growth"] == status_of(tmp_path / "whole").scores["growth"]
    for file in (run / "checkpoints").iterdir():
        file.write_bytes(b"")
    assert learn(stream, run).summary["fingerprint"] == whole["fingerprint"]


@pytest.mark.parametrize("trainable", ["lora", "all"])
def test_what_is_exported_is_the_grown_model(tmp_path: Path, settings: Settings, trainable: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = tmp_path / "run"
    settings |= {"learner.gradient.trainable": trainable, "learner.gradient.average_decay": 0.9}
    learn(texts(tmp_path / "a.jsonl"), run, settings)
    learner = learner_of(run)
    export_run(run, tmp_path / "full")
    full: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "full")
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "full")
    ids = torch.tensor([tokenizer("the cat sat on the mat")["input_ids"]])
    assert ids[0].tolist() == learner.tokenizer("the cat sat on the mat")["input_ids"]
    assert ids.shape[1] < len("the cat sat on the mat")
    assert full.lm_head.weight is full.model.embed_tokens.weight
    with torch.no_grad(), learner.training.averaged():
        expected = learner.model(input_ids=ids).logits
        torch.testing.assert_close(full(input_ids=ids).logits, expected, atol=2e-5, rtol=1e-5)
    assert isinstance(generate_text(run, GenerateRequest(prompt="the cat", max_new_tokens=4)), str)
    figures = evaluate_run(run, [str(texts(tmp_path / "b.jsonl", 3, seed=4))])
    assert figures["tokens_per_byte"] < 1
    before = digest_of(run)
    evaluate_run(run, [str(texts(tmp_path / "b.jsonl", 3, seed=4))], adapt=True)
    assert digest_of(run) == before


def test_a_run_goes_back_behind_the_growth(tmp_path: Path, settings: Settings) -> None:
    run = tmp_path / "run"
    first = texts(tmp_path / "a.jsonl", 3, name="a")
    learn(first, run, settings)
    size = len(learner_of(run).tokenizer)
    learn(texts(tmp_path / "b.jsonl", 6, seed=1, name="b"), run)
    assert len(learner_of(run).tokenizer) > size
    back = rollback_run(run, 1)
    assert back.fingerprint == list_versions(run).versions[0].fingerprint
    assert len(learner_of(run).tokenizer) == size
    last = texts(tmp_path / "c.jsonl", 6, seed=2, name="c")
    on = learn(last, run).summary
    plain = tmp_path / "plain"
    learn(first, plain, settings)
    assert on["fingerprint"] == learn(last, plain).summary["fingerprint"]
    assert verify_run(run).is_valid


def test_a_text_that_was_watched_is_forgotten_as_if_it_had_never_come(
    tmp_path: Path, settings: Settings
) -> None:
    settings |= {"stream.batch_size": 1}
    records = [{"id": f"d{k}", "text": text} for k, text in enumerate(documents(10, seed=1))]
    run = tmp_path / "run"
    learn(write_jsonl(tmp_path / "a.jsonl", records), run, settings)
    outcome = forget_in_run(run, ids=["d1"])
    assert outcome.exact
    never = write_jsonl(tmp_path / "b.jsonl", [*records[:1], *records[2:]])
    expected = learn(never, tmp_path / "never", settings).summary["fingerprint"]
    assert outcome.fingerprint_after == expected
    assert verify_run(run).is_valid


def test_a_refused_interval_takes_its_words_along(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard's fold goes back in place, in a learner that has grown."""
    settings |= {
        "guard.enabled": True,
        "guard.share": 0.2,
        "guard.every": 6,
        "learner.vocabulary.watch_bytes": 400,
    }
    examine = Guard._examine
    sizes: list[int] = []

    def refusing(self: Guard, live: Any, candidate: Any, first_offset: int) -> Any:
        sizes.append(len(candidate.predictor.tokenizer))
        found = examine(self, live, candidate, first_offset)
        if len(sizes) == 1:
            found.reasons.append("it is the first that is examined")
        return found

    monkeypatch.setattr(Guard, "_examine", refusing)
    run = tmp_path / "run"
    summary = learn(texts(tmp_path / "a.jsonl", 40), run, settings).summary
    assert sizes[0] > 258  # the refused one had grown
    assert sizes[1] != sizes[0]  # what went on from before it watched other text
    assert summary["vocabulary_words"]
    assert len(learner_of(run).tokenizer) > 258
    assert verify_run(run).is_valid
