"""The exam of general text: what the model was good at before it learned a stream, before and after."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.runtime.text_runs import (
    corpus,
    language_settings,
    learn,
    translation_settings,
    write_language_model,
    write_pairs,
    write_translator,
)

from everlearn.errors import ConfigError
from everlearn.evaluation.text_scores import bits_per_byte
from everlearn.learning.language import LanguageConfig, LanguageLearner
from everlearn.models.language.causal import load_language_model
from everlearn.runtime.commands.evaluate import evaluate_run
from everlearn.runtime.folder.run_folder import GENERAL_FILE
from everlearn.types import Example

FIGURES = ("general_bits_per_byte_before", "general_bits_per_byte", "general_change_percent")


def test_general_text_is_scored_before_and_after(tmp_path: Path) -> None:
    model = write_language_model(tmp_path / "tiny")
    stream = corpus(tmp_path / "stream.txt")
    other = tmp_path / "other.txt"
    other.write_text("0123456789 QXZ QXZ 9876543210\n\nZZZZ 0000 YYYY 1111\n", encoding="utf-8")
    settings = language_settings(model)
    run = tmp_path / "run"
    summary = learn(stream, run, settings, general=str(other)).summary
    before, now, change = (summary[name] for name in FIGURES)
    # The model that learned nothing, read in another way.
    untrained = LanguageLearner(load_language_model(str(model), dtype="float32"), LanguageConfig())
    texts = other.read_text(encoding="utf-8").split("\n\n")
    losses = untrained.score([Example(id=str(k), text=text.strip()) for k, text in enumerate(texts)])
    nats, num_bytes = sum(one.nats for one in losses), sum(one.bytes for one in losses)
    assert before == pytest.approx(bits_per_byte(nats, num_bytes), rel=0.02)
    assert now == pytest.approx(evaluate_run(run, [str(other)])["bits_per_byte"], rel=1e-6)
    assert change == pytest.approx(100 * (now / before - 1))
    assert now > before, "it has learned words, and the general text has none of them"
    assert "general text" in (run / "report.html").read_text(encoding="utf-8")
    # The next sitting compares with the same beginning, also where the file of it was damaged.
    (run / GENERAL_FILE).write_text("{", encoding="utf-8")
    more = corpus(tmp_path / "more.txt", seed=5)
    again = learn(more, run, general=str(other)).summary
    assert again[FIGURES[0]] == pytest.approx(before, rel=1e-6)
    assert again[FIGURES[1]] != now
    # Another text has another beginning.
    third = corpus(tmp_path / "third.txt", seed=9)
    assert learn(corpus(tmp_path / "4.txt", seed=6), run, general=str(third)).summary[FIGURES[0]] != before


def test_a_run_learns_the_same_with_and_without_it(tmp_path: Path) -> None:
    settings = language_settings(write_language_model(tmp_path / "tiny"))
    stream = corpus(tmp_path / "stream.txt")
    plain = learn(stream, tmp_path / "plain", settings).summary
    watched = learn(stream, tmp_path / "watched", settings, general=str(stream)).summary
    assert watched["fingerprint"] == plain["fingerprint"]
    assert not any(name in plain for name in FIGURES)


def test_pairs_are_scored_by_their_losses(tmp_path: Path) -> None:
    settings = translation_settings(write_translator(tmp_path / "tiny"))
    stream, other = write_pairs(tmp_path / "a.jsonl", 24), write_pairs(tmp_path / "b.jsonl", 8, seed=3)
    summary = learn(stream, tmp_path / "run", settings, general=str(other)).summary
    assert summary[FIGURES[1]] < summary[FIGURES[0]], "they are of the stream's kind"
    saved = json.loads((tmp_path / "run" / GENERAL_FILE).read_text(encoding="utf-8"))
    assert saved["bits_per_byte"] == summary[FIGURES[0]]


def test_a_classifier_is_refused(tmp_path: Path) -> None:
    stream = tmp_path / "labels.jsonl"
    stream.write_text('{"text": "a", "label": "x"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="--test"):
        learn(stream, tmp_path / "run", {}, general=str(stream))
    assert not (tmp_path / "run").exists()


def test_a_run_that_only_warmed_up_says_so(tmp_path: Path) -> None:
    model = write_language_model(tmp_path / "tiny")
    settings = language_settings(model) | {"learner.gradient.warmup_steps": 10_000}
    notes = learn(corpus(tmp_path / "stream.txt"), tmp_path / "run", settings).notes
    assert any("of 10,000 warm-up steps" in note and "--warmup-steps" in note for note in notes)
    enough = learn(corpus(tmp_path / "stream.txt"), tmp_path / "enough", language_settings(model)).notes
    assert not any("warm-up" in note for note in enough)
