"""Runs of encoder-decoders: BLEU along the stream, late targets, corrections, crashes, deletion, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from tests.learning_seq2seq.pairs_of_words import word_pairs
from tests.runtime.conftest import digest_of, status_of
from tests.runtime.text_runs import (
    Crash,
    crash_at_step,
    learn,
    translation_settings,
    write_jsonl,
    write_pairs,
    write_translator,
)

from everlearn.errors import ConfigError, InputError
from everlearn.runtime.commands.evaluate import evaluate_run
from everlearn.runtime.commands.export import export_run
from everlearn.runtime.commands.generate import GenerateRequest, generate_text, open_writing_model
from everlearn.runtime.commands.predict import predict_stream, predict_texts
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.history.lineage import blame_example, list_versions
from everlearn.runtime.history.rollback import rollback_run
from everlearn.runtime.history.verify import verify_run
from everlearn.stream.source import Rejection

Settings = dict[str, Any]
SCORES = (
    *("examples", "learned", "without_target", "rejected", "tokens", "bytes", "prequential_bits_per_byte"),
    *("prequential_bleu", "prequential_chrf", "rolling_bleu", "bleu_signature", "fingerprint"),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_translator(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def settings(model: Path) -> Settings:
    return translation_settings(model)


def scores_of(summary: dict[str, Any]) -> dict[str, Any]:
    return {name: summary[name] for name in SCORES}


def pairs_as_records(count: int) -> list[dict[str, Any]]:
    return [{"id": one.id, "text": one.text, "target": one.target} for one in word_pairs(count, longest=4)]


def test_pairs_are_translated_before_they_are_learned(tmp_path: Path, settings: Settings) -> None:
    settings |= {"learner.gradient.replay": 200, "learner.gradient.replayed": 24}
    stream = write_pairs(tmp_path / "pairs.jsonl", 480, domain="words")
    test = write_pairs(tmp_path / "test.jsonl", 40, seed=7)
    run = tmp_path / "run"
    summary = learn(stream, run, settings, test=str(test)).summary
    assert summary["examples"] == summary["learned"] == 480
    assert 0 < summary["prequential_chrf"] < summary["test_chrf"]
    assert summary["test_bits_per_byte"] < summary["prequential_bits_per_byte"]
    assert summary["bleu_signature"].startswith("nrefs:1")
    saved = status_of(run)
    assert len(saved.scores["samples"]) > 3
    assert "words" in (run / "report.html").read_text(encoding="utf-8")
    (version,) = list_versions(run).versions
    assert version.scores["prequential_bleu"] == summary["prequential_bleu"]
    scores = evaluate_run(run, [str(test)])
    assert scores["chrf"] == pytest.approx(summary["test_chrf"])
    assert scores["bits_per_byte"] == pytest.approx(summary["test_bits_per_byte"])
    assert scores["fingerprint"] == summary["fingerprint"]
    with pytest.raises(ConfigError, match="adapt is for language models"):
        evaluate_run(run, [str(test)], adapt=True)
    said = predict_texts(run, ["the dog runs", "a cat"])
    assert [one.text for one in said] == ["the dog runs", "a cat"]
    answer = said[0].to_json()
    assert set(answer) == {"id", "text", "translation", "probability"}
    assert answer["translation"] == generate_text(run, GenerateRequest(prompt="the dog runs"))
    assert 0 < answer["probability"] <= 1
    sources = write_jsonl(tmp_path / "new.jsonl", [{"source": "the dog runs"}, {"text": "a cat"}, {"no": 1}])
    rejected: list[Rejection] = []
    streamed = list(predict_stream(run, str(sources), on_rejected=rejected.append))
    assert [one.top[0][0] for one in streamed] == [one.top[0][0] for one in said]
    assert len(rejected) == 1


def test_stopped_or_crashed_and_continued_equals_undisturbed(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = write_pairs(tmp_path / "pairs.jsonl", 40)
    settings |= {"stream.delay": 5, "learner.gradient.average_decay": 0.8}
    whole = learn(stream, tmp_path / "whole", settings).summary
    run = tmp_path / "run"
    first = learn(stream, run, settings, batches=2)
    assert first.interrupted
    with monkeypatch.context() as patch:
        patch.setattr(Fold, "make", crash_at_step(4))
        with pytest.raises(Crash):
            learn(stream, run)
    rest = learn(stream, run)
    assert scores_of(rest.summary) == scores_of(whole)
    assert digest_of(run) == digest_of(tmp_path / "whole")
    tables = [pq.read_table(one / "metrics.parquet") for one in (run, tmp_path / "whole")]
    assert tables[0]["bleu"].to_pylist() == tables[1]["bleu"].to_pylist()
    assert verify_run(run).is_valid


def test_late_targets_and_corrections(tmp_path: Path, settings: Settings) -> None:
    run = tmp_path / "run"
    pairs = pairs_as_records(24)
    sources = [{**one, "target": None} if k < 8 else one for k, one in enumerate(pairs)]
    first = learn(write_jsonl(tmp_path / "a.jsonl", sources), run, settings)
    assert (first.summary["learned"], first.summary["without_target"]) == (16, 8)
    late = [{"id": one["id"], "target": one["target"]} for one in pairs[:8]]
    corrected = {"id": pairs[9]["id"], "target": "ein anderer satz"}
    second = learn(write_jsonl(tmp_path / "b.jsonl", [*late, corrected, {"id": "x", "target": "y"}]), run)
    assert (second.summary["learned"], second.summary["without_target"]) == (16 + 8, 0)
    assert second.summary["rejected"] == 1
    assert any("9 targets came for examples taken before" in note for note in second.notes)
    blame = blame_example(run, pairs[9]["id"])
    assert (blame.target, len(blame.learned)) == ("ein anderer satz", 2)
    assert verify_run(run).is_valid
    back = rollback_run(run, 1)
    assert back.fingerprint == first.summary["fingerprint"]
    assert blame_example(run, pairs[9]["id"]).target == pairs[9]["target"]


def test_a_pair_is_forgotten_as_if_it_had_never_come(tmp_path: Path, settings: Settings) -> None:
    settings |= {"stream.batch_size": 1}
    run, never = tmp_path / "run", tmp_path / "never"
    pairs = pairs_as_records(10)
    learn(write_jsonl(tmp_path / "a.jsonl", pairs), run, settings)
    learn(write_jsonl(tmp_path / "b.jsonl", pairs[:4] + pairs[5:]), never, settings)
    outcome = forget_in_run(run, ids=[pairs[4]["id"]])
    assert (outcome.num_forgotten, outcome.exact) == (1, True)
    assert outcome.fingerprint_after == list_versions(never).versions[-1].fingerprint
    assert verify_run(run).is_valid


def test_exports_give_the_same_logits_in_transformers(tmp_path: Path, settings: Settings) -> None:
    from transformers import AutoModelForSeq2SeqLM

    run = tmp_path / "run"
    learn(write_pairs(tmp_path / "pairs.jsonl", 24), run, settings | {"learner.gradient.trainable": "lora"})
    writer = open_writing_model(run)
    ids = {"input_ids": torch.tensor([[20, 21, 22, 1]]), "decoder_input_ids": torch.tensor([[0, 30, 31]])}
    export_run(run, tmp_path / "full")
    full = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "full")
    with torch.no_grad():
        torch.testing.assert_close(full(**ids).logits, writer.model(**ids).logits, atol=2e-5, rtol=1e-5)


def test_pairs_that_cannot_be_used(tmp_path: Path, settings: Settings) -> None:
    run = tmp_path / "run"
    bare = write_jsonl(tmp_path / "bare.jsonl", [{"source": "the dog"}, {"source": "a cat"}])
    with pytest.raises(InputError, match=r"none of its 2 examples has a target.*--target-field"):
        learn(bare, run, settings)
    assert not run.exists()
    with pytest.raises(InputError, match="cannot be tested on"):
        learn(write_pairs(tmp_path / "pairs.jsonl", 8), run, settings, test=str(bare))
    with pytest.raises(ConfigError, match="no encoder-decoder comes with everlearn"):
        learn(bare, run, {"task": "seq2seq"})
    odd: list[dict[str, Any]] = [
        {"id": "1", "source": "a", "target": "ä"},  # one letter
        {"id": "2", "source": "the dog " * 200, "target": "der hund " * 200},  # longer than the model
        {"id": "3", "source": "日本語の文章 mixed with русский", "target": "中文 и ещё 🎉"},
        {"id": "4", "source": "", "target": "x"},
        {"id": "5", "source": 17, "target": "x"},
    ]
    outcome = learn(write_jsonl(tmp_path / "odd.jsonl", odd), run, settings)
    assert (outcome.summary["examples"], outcome.summary["rejected"]) == (3, 2)
    reasons = [json.loads(line)["reason"] for line in (run / "rejected.jsonl").read_text().splitlines()]
    assert reasons[0] == "field 'source' must be a string, not int"
    assert reasons[1].startswith("it has no text")  # a target for an earlier pair, of which there is none


def test_an_id_that_samples_name_is_gone_from_versions_that_do_not_hold_it(
    tmp_path: Path, settings: Settings
) -> None:
    run = tmp_path / "run"
    records = [one | {"id": f"person-{k:04}-x"} for k, one in enumerate(pairs_as_records(64))]
    guarded = settings | {"guard.enabled": True, "guard.every": 32, "guard.share": 0.5}
    learn(write_jsonl(tmp_path / "pairs.jsonl", records), run, guarded)
    samples = [one["id"] for one in status_of(run).scores["samples"]]
    in_exams = [one for one in samples if blame_example(run, one).role == "exam"]
    assert len(list_versions(run).versions) > 1
    assert in_exams
    forget_in_run(run, ids=in_exams[:1], approximate=True)
    left = {path for path in run.rglob("*") if path.is_file() and in_exams[0].encode() in path.read_bytes()}
    assert left == set()
    assert [one["id"] for one in status_of(run).scores["samples"]] == [
        one for one in samples if one != in_exams[0]
    ]
