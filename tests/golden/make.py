"""Makes the archives that ``test_golden_runs.py`` opens: one small run of each task, as this code writes it.

They are made once for each format and then kept as they are: what protects the runs of users is that the code
of today opens an archive of *earlier* code. Those here were made by everlearn 0.1.0 at commit 5e53dd9 (run
format 2, journal format 2, checkpoint format 1), on Linux, with::

    OMP_NUM_THREADS=1 PYTHONPATH=<the source of that commit> python -m tests.golden.make

For another format, give ``PLACE`` and the archives' folder another number, and keep the old ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from tests.golden.runs import KINDS, command, made_anew, numerics, observed
from tests.learning_language.conftest import tiny_language_model
from tests.learning_seq2seq.pairs_of_words import word_pairs
from tests.runtime.conftest import clustered_examples, write_codes_file
from tests.runtime.text_runs import documents, learn, write_jsonl
from tests.runtime.word_pairs import write_texts

from everlearn.models.language.small_seq2seq import small_seq2seq

_BROKEN = ['{"id": "broken", "text": \n', "[1, 2]\n", '{"id": "empty", "text": ""}\n']


def _closed_form(place: Path) -> list[str]:
    """A guard that refuses a poisoned stretch, late targets, corrections, and a way back."""
    examples = clustered_examples(900)
    for k in range(300, 400):
        examples[k] = examples[k].with_target(f"label{(int(str(examples[k].target)[-1]) + 1) % 5}")
    for k in (20, 21, 450):
        examples[k] = examples[k].with_target(None)
    stream = write_codes_file(place / "stream.codes.parquet", examples)
    write_codes_file(place / "probe.codes.parquet", clustered_examples(40, start=5_000))
    write_codes_file(place / "more.codes.parquet", clustered_examples(60, start=7_000))
    run = place / "run"
    settings = {
        "learner.closed_form.num_features": 64,
        "learner.closed_form.gram_bits": 8,
        "learner.closed_form.sample_size": 128,
        "stream.batch_size": 25,
        "guard.enabled": True,
        "guard.every": 100,
        "guard.share": 0.2,
        "guard.recent": 60,
        "guard.long_term": 60,
        "run.threads": 1,
        "run.keep_checkpoints": 1,
        "run.keep_versions": 4,
    }
    learn(stream, run, settings, batches=26)
    _write_lines(
        place / "late.jsonl",
        [
            {"id": "message-20", "target": "label1"},
            {"id": "message-21", "target": "label2"},
            {"id": "message-30", "target": "label3"},
            {"id": "message-31", "target": "a new label"},
            {"id": "message-32"},
        ],
    )
    learn(place / "late.jsonl", run)
    (history,) = command("versions", run, "--json")
    command("rollback", run, str(history["versions"][-2]["version"]), "--reason", "tried", "--json")
    learn(stream, run, batches=2)
    command("forget", run, "--id", "message-40", "--id", "message-41", "--id", "message-305", "--json")
    learn(stream, run, batches=4)
    return ["message-20", "message-31", "message-310", "message-450", "message-600"]


def _gradient(place: Path) -> list[str]:
    """Replay, targets that come with delay, late and corrected ones."""
    _write_encoder(place / "model")
    write_texts(place / "stream.jsonl", 160)
    lines = (place / "stream.jsonl").read_text().splitlines(keepends=True)
    for k in (9, 50):
        record = json.loads(lines[k])
        del record["label"]
        lines[k] = json.dumps(record) + "\n"
    lines[30:30] = _BROKEN
    (place / "stream.jsonl").write_text("".join(lines))
    write_texts(place / "probe.jsonl", 20, start=5_000)
    write_texts(place / "more.jsonl", 24, start=7_000)
    _write_lines(
        place / "late.jsonl",
        [{"id": "message-9", "label": "same"}, {"id": "message-12", "label": "unlike"}],
    )
    run = place / "run"
    settings = {
        "learner.kind": "gradient",
        "model.name": str(place / "model"),
        "learner.gradient.learning_rate": 3e-3,
        "learner.gradient.warmup_steps": 2,
        "learner.gradient.replay": 24,
        "stream.batch_size": 8,
        "stream.delay": 12,
        "run.threads": 1,
        "run.keep_checkpoints": 1,
    }
    learn(place / "stream.jsonl", run, settings, batches=6)
    return _sittings(place, run, ["message-50", "message-52"], 2, ["message-9", "message-12", "message-60"])


def _language(place: Path) -> list[str]:
    """Documents in pieces and lanes, LoRA, replay, averaged weights."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 2}
    made = tiny_language_model(**sizes, max_position_embeddings=256)
    made.model.save_pretrained(place / "model")
    made.tokenizer.save_pretrained(place / "model")
    records = _documents("doc", 30, seed=1)
    write_jsonl(place / "stream.jsonl", records)
    lines = (place / "stream.jsonl").read_text().splitlines(keepends=True)
    lines[7:7] = _BROKEN
    (place / "stream.jsonl").write_text("".join(lines))
    write_jsonl(place / "probe.jsonl", _documents("probe", 3, seed=2))
    write_jsonl(place / "more.jsonl", _documents("more", 3, seed=3))
    write_jsonl(place / "late.jsonl", _documents("late", 4, seed=4))
    run = place / "run"
    settings = {
        "task": "lm",
        "model.name": str(place / "model"),
        "model.dtype": "float32",
        "model.device": "cpu",
        "learner.language.lanes": 2,
        "learner.language.chunk_length": 32,
        "learner.language.tokens_per_step": 64,
        "learner.language.window": 32,
        "learner.language.sinks": 2,
        "learner.gradient.lora_rank": 2,
        "learner.gradient.learning_rate": 3e-3,
        "learner.gradient.warmup_steps": 2,
        "learner.gradient.replay": 10,
        "learner.gradient.average_decay": 0.9,
        "stream.piece_bytes": 64,
        "run.threads": 1,
        "run.keep_checkpoints": 1,
    }
    learn(place / "stream.jsonl", run, settings, batches=8)
    return _sittings(place, run, ["doc-18", "doc-19"], 3, ["doc-1", "doc-8", "late-1", "doc-20"])


def _translation(place: Path) -> list[str]:
    """Pairs, one of which comes without its translation and one with another one later."""
    texts = [text for pair in word_pairs(200) for text in (pair.text or "", pair.target or "")]
    made = small_seq2seq(texts, vocab_size=270, hidden_size=8, layers=1, heads=2, max_length=32, dropout=0.0)
    made.model.save_pretrained(place / "model")
    made.tokenizer.save_pretrained(place / "model")
    pairs: list[dict[str, Any]] = [
        {"id": f"pair-{k}", "source": one.text, "target": one.target, "domain": f"domain{k % 2}"}
        for k, one in enumerate(word_pairs(100, longest=4))
    ]
    del pairs[5]["target"]
    write_jsonl(place / "stream.jsonl", pairs)
    lines = (place / "stream.jsonl").read_text().splitlines(keepends=True)
    lines[20:20] = _BROKEN
    (place / "stream.jsonl").write_text("".join(lines))
    for name, seed in (("probe", 5), ("more", 6)):
        write_jsonl(
            place / f"{name}.jsonl",
            (
                {"id": f"{name}-{one.id}", "source": one.text, "target": one.target}
                for one in word_pairs(12, seed)
            ),
        )
    _write_lines(
        place / "late.jsonl",
        [{"id": "pair-5", "target": "ein mann"}, {"id": "pair-7", "target": "der grosse hund"}],
    )
    run = place / "run"
    settings = {
        "task": "seq2seq",
        "model.name": str(place / "model"),
        "model.dtype": "float32",
        "model.device": "cpu",
        "learner.gradient.optimizer": "momentum",
        "learner.gradient.learning_rate": 5e-3,
        "learner.gradient.warmup_steps": 2,
        "learner.gradient.replay": 16,
        "stream.batch_size": 8,
        "run.threads": 1,
        "run.keep_checkpoints": 1,
    }
    learn(place / "stream.jsonl", run, settings, batches=4)
    return _sittings(place, run, ["pair-34", "pair-39"], 1, ["pair-5", "pair-7", "pair-40"])


def _sittings(place: Path, run: Path, gone: list[str], batches: int, ids: list[str]) -> list[str]:
    """Late targets, a deletion, a version that is taken back, and some more of the stream."""
    learn(place / "late.jsonl", run)
    learn(place / "stream.jsonl", run, batches=batches)
    command("forget", run, *(word for one in gone for word in ("--id", one)), "--json")
    learn(place / "stream.jsonl", run, batches=batches)
    learn(place / "stream.jsonl", run, batches=batches)
    command("rollback", run, "4", "--reason", "tried", "--json")
    learn(place / "stream.jsonl", run, batches=batches)
    return ids


def _documents(name: str, count: int, seed: int) -> list[dict[str, Any]]:
    return [
        {"id": f"{name}-{k}", "text": text, "domain": f"domain{k % 2}"}
        for k, text in enumerate(documents(count, seed=seed, sentences=3))
    ]


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in records) + "".join(_BROKEN))


def _write_encoder(path: Path) -> None:
    """As that of ``word_pairs``, half as wide, so that its checkpoints stay small."""
    from tests.runtime.word_pairs import write_encoder
    from transformers import BertConfig, BertModel

    write_encoder(path)
    config = BertConfig.from_pretrained(path)
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 16, 32, 1
    torch.manual_seed(0)
    BertModel(config).save_pretrained(path)


_MAKE: Mapping[str, Callable[[Path], list[str]]] = {
    "closed-form": _closed_form,
    "gradient": _gradient,
    "language": _language,
    "translation": _translation,
}


def _make(kind: str) -> Path:
    def make(place: Path) -> None:
        torch.set_num_threads(1)
        ids = _MAKE[kind](place)
        expected = {"numerics": numerics(), "ids": ids, "observed": observed(place / "run", kind, ids)}
        (place / "expected.json").write_text(json.dumps(expected, indent=1))

    return made_anew(kind, make)


if __name__ == "__main__":
    for kind in sys.argv[1:] or KINDS:
        path = _make(kind)
        print(path, path.stat().st_size)
