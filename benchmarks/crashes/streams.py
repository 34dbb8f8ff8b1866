"""Streams with everything in them that a crash could confuse: repeated ids, late targets, corrections."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.command_line import run_json
from benchmarks.datasets import DatasetNotFoundError, load_rows
from everlearn.stream.files.codes import CodesSource, CodesWriter
from everlearn.stream.source import EndOfStream
from everlearn.types import Code, Example

__all__ = ["CrashStream", "coded_stream", "made_up_stream", "text_stream"]

_SHARE_OF_RECORDS = 0.05
_MANY_LATER = 200
_IN_BURSTS = 0.4  # of the later records come together, so that whole batches hold no new example
_SOON, _SOON_WITHIN = 0.3, 300  # and so many before (or just after) their example was learned
_DENSE_SIZE = 24
_NUM_LABELS = 8


@dataclass(frozen=True, slots=True, eq=False)
class CrashStream:
    """A stream on disk, and what a run must hold once it has learned it.

    Attributes:
        path: The file.
        num_records: Records in it.
        held: The target of every example that must be held, by id.
        description: For people.
    """

    path: Path
    num_records: int
    held: dict[str, str]
    description: str


def coded_stream(path: Path, num_records: int, data: str | None, seed: int) -> CrashStream:
    """Real texts (CLINC150), encoded once; codes of random clusters where they are not at hand."""
    try:
        rows = [row for split in ("train", "test", "val") for row in load_rows("clinc150", split, data)]
    except DatasetNotFoundError:
        return made_up_stream(path, num_records, seed)
    rows = rows[: num_records - _num_later(num_records)]
    random.Random(seed).shuffle(rows)
    texts, codes = path.with_suffix(".texts.jsonl"), path.with_suffix(".codes.parquet")
    _write_texts(texts, [Example(id=row.id, text=row.text, target=row.label) for row in rows])
    run_json(["encode", texts, "--out", codes, "--max-length", "64", "--threads", "1"])
    source, examples = CodesSource(codes), []
    reader = source.open()
    try:
        while True:
            examples += [replace(one, text=None) for one in reader.next_batch(4_096)]
    except EndOfStream:
        reader.close()
    return _written(
        path,
        _with_later_records(examples, num_records, seed),
        CodesWriter(
            path,
            coder_fingerprint=source.coder_fingerprint,
            coder_config=source.coder_config,
            dense_size=source.dense_size,
        ),
        "CLINC150, encoded once",
    )


def made_up_stream(path: Path, num_records: int, seed: int) -> CrashStream:
    """Codes of random clusters, for which no model is needed."""
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(_NUM_LABELS, _DENSE_SIZE)) * 40
    examples = []
    for number in range(num_records - _num_later(num_records)):
        # Labels come up one after another, as they do in a stream that lives.
        label = int(generator.integers(min(_NUM_LABELS, 2 + number // 100)))
        dense = np.clip(np.rint(centers[label] + generator.normal(size=_DENSE_SIZE) * 20), -127, 127)
        grams = np.unique(generator.integers(0, 2**20, size=4)).astype(np.uint32)
        code = Code(dense.astype(np.int8), grams, np.full(len(grams), 100, np.uint8))
        examples.append(Example(id=f"e{number}", target=f"label{label}", code=code))
    records = _with_later_records(examples, num_records, seed)
    writer = CodesWriter(path, coder_fingerprint="made up", coder_config={}, dense_size=_DENSE_SIZE)
    return _written(path, records, writer, "codes of random clusters")


def text_stream(path: Path, num_records: int, data: str | None, seed: int) -> CrashStream:
    """Short texts (TREC questions, or made-up ones) for a learner that reads texts."""
    count = num_records - _num_later(num_records)
    chance = random.Random(seed)
    try:
        rows = [(row.text, row.label) for row in load_rows("trec_questions", "train", data)]
        description = "TREC questions"
    except DatasetNotFoundError:
        words = {"sport": "match goal team", "food": "soup bread salt", "travel": "train ticket hotel"}
        labels = [chance.choice(sorted(words)) for _ in range(count)]
        rows = [(" ".join(chance.choices(words[one].split(), k=6)), one) for one in labels]
        description = "made-up texts"
    chance.shuffle(rows)
    examples = [
        Example(id=f"t{number}", text=text, target=label) for number, (text, label) in enumerate(rows[:count])
    ]
    records = _with_later_records(examples, num_records, seed)
    _write_texts(path, records)
    return CrashStream(path, len(records), _held(records), description)


def _num_later(num_records: int) -> int:
    # In a short stream more, lest no batch be made of them alone.
    return max(round(_SHARE_OF_RECORDS * num_records), min(_MANY_LATER, num_records // 5))


def _with_later_records(examples: Sequence[Example], num_records: int, seed: int) -> list[Example]:
    """The later records repeat an id: a third each the same again, another target, a late one."""
    chance = random.Random(seed)
    first = list(examples)
    labels = sorted({one.target for one in first if one.target is not None})
    chosen = chance.sample(range(len(first) // 2), num_records - len(first))
    placed: list[tuple[float, Example]] = []
    bursts = [chance.uniform(0.55, 0.95) * len(first) for _ in range(1 + (len(chosen) > _MANY_LATER))]
    for count, at in enumerate(chosen):
        one = first[at]
        another = chance.choice([label for label in labels if label != one.target])
        later = one.with_target(another) if count % 3 == 1 else one
        if count % 3 == 2:
            first[at] = one.with_target(None)
        where = chance.random()
        if where < _IN_BURSTS:
            place = bursts[count % len(bursts)]
        elif where < _IN_BURSTS + _SOON:
            place = at + chance.uniform(1, _SOON_WITHIN)
        else:
            place = chance.uniform(0.5, 1.0) * len(first)
        placed.append((place, later))
    # A few wait for a target to the end: they are predicted and never learned.
    for at in chance.sample(sorted(set(range(len(first))) - set(chosen)), max(1, len(first) // 200)):
        first[at] = first[at].with_target(None)
    placed += [(float(at), one) for at, one in enumerate(first)]
    return [one for _, one in sorted(placed, key=lambda item: item[0])]


def _held(records: Sequence[Example]) -> dict[str, str]:
    return {one.id: one.target for one in records if one.target is not None}


def _written(path: Path, records: Sequence[Example], writer: CodesWriter, description: str) -> CrashStream:
    with writer:
        writer.write(records)
    return CrashStream(path, len(records), _held(records), description)


def _write_texts(path: Path, examples: Sequence[Example]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for one in examples:
            record = {"id": one.id, "text": one.text, "target": one.target}
            file.write(json.dumps({k: v for k, v in record.items() if v is not None}) + "\n")
