"""Makes the newest set of archives that the tests open: one small run of each task, as this code writes it.

They are made once for each format and then kept as they are: what protects the runs of users is that the code
of today opens an archive of *earlier* code. Each set is made by its commit, on Linux, with::

    OMP_NUM_THREADS=1 PYTHONPATH=src:. python -m tests.golden.make

For another format, add a line to ``sets.SETS``, change the recipes, and keep the old archives.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from tests.golden.recipes import RECIPES
from tests.golden.runs import FORGOTTEN, fingerprints_of_going_on, forget, go_on, numerics, observed
from tests.golden.sets import KINDS, NEWEST, SETS, Archive, GoldenSet
from tests.learning_language.conftest import tiny_language_model
from tests.learning_seq2seq.pairs_of_words import word_pairs
from tests.runtime.conftest import clustered_examples, write_codes_file
from tests.runtime.text_runs import documents, spoil, write_jsonl
from tests.runtime.word_pairs import write_encoder, write_texts
from transformers import BertConfig, BertModel

from everlearn.models.language.small_seq2seq import small_seq2seq

_BROKEN = ['{"id": "broken", "text": \n', "[1, 2]\n", '{"id": "empty", "text": ""}\n']


def _closed_form(place: Path) -> None:
    examples = clustered_examples(700)
    for k in range(300, 400):
        examples[k] = examples[k].with_target(f"label{(int(str(examples[k].target)[-1]) + 1) % 5}")
    for k in (20, 21, 450):
        examples[k] = examples[k].with_target(None)
    write_codes_file(place / "stream.codes.parquet", examples)
    write_codes_file(place / "probe.codes.parquet", clustered_examples(40, start=5_000))
    write_codes_file(place / "more.codes.parquet", clustered_examples(60, start=7_000))
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


def _gradient(place: Path) -> None:
    _write_encoder(place / "model")
    write_texts(place / "stream.jsonl", 160)
    records = [json.loads(line) for line in (place / "stream.jsonl").read_text().splitlines()]
    for k in (9, 50):
        del records[k]["label"]
    records[22]["text"] = "a word that nobody knows"
    _write_lines(place / "stream.jsonl", records, broken_at=30)
    write_texts(place / "probe.jsonl", 20, start=5_000)
    write_texts(place / "more.jsonl", 24, start=7_000)
    _write_lines(
        place / "late.jsonl",
        [{"id": "message-9", "label": "same"}, {"id": "message-12", "label": "unlike"}],
    )


def _language(place: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 2}
    made = tiny_language_model(**sizes, max_position_embeddings=4096, tie_word_embeddings=False)
    made.model.save_pretrained(place / "model")
    made.tokenizer.save_pretrained(place / "model")
    spoil(place / "model", "@")
    records = _documents("doc", 36, seed=1)
    records[4]["text"] = "write to me @ home"
    _write_lines(place / "stream.jsonl", records, broken_at=7)
    write_jsonl(place / "probe.jsonl", _documents("probe", 3, seed=2))
    write_jsonl(place / "more.jsonl", _documents("more", 3, seed=3))
    write_jsonl(place / "late.jsonl", _documents("late", 4, seed=4))


def _translation(place: Path) -> None:
    texts = [text for pair in word_pairs(200) for text in (pair.text or "", pair.target or "")]
    made = small_seq2seq(texts, vocab_size=270, hidden_size=8, layers=1, heads=2, max_length=32, dropout=0.0)
    made.model.save_pretrained(place / "model")
    made.tokenizer.add_tokens(["customer-id"])
    made.tokenizer.save_pretrained(place / "model")
    pairs: list[dict[str, Any]] = [
        {"id": f"pair-{k}", "source": pair.text, "target": pair.target, "domain": f"domain{k % 2}"}
        for k, pair in enumerate(word_pairs(100, longest=4))
    ]
    del pairs[5]["target"]
    pairs[12]["source"] += " customer-id"
    _write_lines(place / "stream.jsonl", pairs, broken_at=20)
    for name, seed in (("probe", 5), ("more", 6)):
        write_jsonl(
            place / f"{name}.jsonl",
            (
                {"id": f"{name}-{pair.id}", "source": pair.text, "target": pair.target}
                for pair in word_pairs(12, seed)
            ),
        )
    _write_lines(
        place / "late.jsonl",
        [{"id": "pair-5", "target": "ein mann"}, {"id": "pair-7", "target": "der grosse hund"}],
    )


def _documents(name: str, count: int, seed: int) -> list[dict[str, Any]]:
    return [
        {"id": f"{name}-{k}", "text": text, "domain": f"domain{k % 2}"}
        for k, text in enumerate(documents(count, seed=seed, sentences=3))
    ]


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]], broken_at: int | None = None) -> None:
    """Records as JSON lines, with lines that are none among them, at the end unless told."""
    lines = [json.dumps(record) + "\n" for record in records]
    where = len(lines) if broken_at is None else broken_at
    path.write_text("".join([*lines[:where], *_BROKEN, *lines[where:]]))


def _write_encoder(path: Path) -> None:
    """As that of ``word_pairs``, half as wide, so that its checkpoints stay small; unknown words spoil it."""
    write_encoder(path)
    config = BertConfig.from_pretrained(path)
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 16, 32, 1
    torch.manual_seed(0)
    BertModel(config).save_pretrained(path)
    spoil(path, "[UNK]")


_INPUTS: Mapping[str, Callable[[Path], None]] = {
    "closed-form": _closed_form,
    "gradient": _gradient,
    "language": _language,
    "translation": _translation,
}


def _make(archive: Archive) -> None:
    """Make a run in its place, from nothing, and pack it with what it shows."""
    shutil.rmtree(archive.place, ignore_errors=True)
    archive.place.mkdir(parents=True)
    run = archive.place / "run"
    _INPUTS[archive.kind](archive.place)
    ids = RECIPES[archive.kind](archive.place, run)
    expected = {"numerics": numerics(), "ids": ids, "observed": observed(run, archive, ids)}
    (archive.place / "expected.json").write_text(json.dumps(expected, indent=1))
    archive.pack()


def _note_continued(golden_set: GoldenSet) -> None:
    """Let each run of a set go on, and note what comes of it."""
    noted: dict[str, Any] = {"numerics": numerics()}
    for kind in KINDS:
        archive = Archive(golden_set, kind)
        with tempfile.TemporaryDirectory() as folder:
            run, _ = archive.unpack(Path(folder))
            noted[kind] = fingerprints_of_going_on(*go_on(run, archive), forget(run, FORGOTTEN[kind]))
    golden_set.continued.write_text(json.dumps(noted, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for kind in KINDS:
        archive = Archive(NEWEST, kind)
        with contextlib.redirect_stdout(io.StringIO()):
            _make(archive)
        print(archive.path, archive.path.stat().st_size)
    for golden_set in SETS:
        if golden_set is NEWEST or not golden_set.continued.exists():
            _note_continued(golden_set)
