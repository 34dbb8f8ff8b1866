"""Encoders with tied layers, healed on texts of other sets: memory, speed and accuracy.

MiniLM's six layers share the weights of so many, and keep a part of so low a rank each. Healing learns from
unlabelled texts of sets that accuracy is not measured on. Accuracy is that of the closed-form learner on the
test parts of CLINC150 and Banking77, after their training parts; the rival is the original encoder.
"""

from __future__ import annotations

import random
import statistics
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.command_line import scratch_folder
from benchmarks.datasets import load_rows
from everlearn import ClosedFormLearner
from everlearn.models import CoderConfig, TextCoder, load_trunk
from everlearn.models.tying.tie import layer_bytes
from everlearn.runtime.commands.tie import TieRequest, tie_model
from everlearn.types import Example

__all__ = ["figures"]

MEASURED = ("clinc150", "banking77")
HEALED_ON = (
    "goemotions_single",
    "trec_questions",
    "snips",
    "sms_spam",
    "ag_news",
    "amazon_reviews_4domains",
    "yelp_5star",
)
MOST_OF_ONE, MOST_CHARACTERS = 40_000, 120  # short, as what is measured


def figures(options: Namespace) -> Iterator[dict[str, Any]]:
    """The original, then one line for each number of unique layers and each rank."""
    torch.set_num_threads(options.threads)
    stream = scratch_folder() / "texts.txt"
    _write_texts(stream, options.data)
    original = _measured("minilm", options)
    yield {"layers": "original", **original}
    for unique in options.unique:
        for rank in options.ranks:
            out = scratch_folder() / "tied"
            started = time.perf_counter()
            outcome = tie_model(
                TieRequest(
                    model="minilm",
                    out=out,
                    unique=unique,
                    rank=rank,
                    stream=str(stream),
                    steps=options.steps,
                    threads=options.threads,
                )
            )
            healed = {
                "layer_weights_to_original": round(outcome.share, 3),
                "steps": outcome.steps,
                "healing_seconds": round(time.perf_counter() - started),
                "distance_before": outcome.loss_before,
                "distance_after": outcome.loss_after,
                "cosine": outcome.cosine,
            }
            yield {"layers": f"{unique} unique, rank {rank}", **healed, **_measured(str(out), options)}


def _write_texts(path: Path, data: str | None) -> None:
    texts: list[str] = []
    for name in HEALED_ON:
        rows = load_rows(name, "train", data)
        random.Random(0).shuffle(rows)
        texts += [" ".join(row.text.split())[:MOST_CHARACTERS] for row in rows[:MOST_OF_ONE]]
    random.Random(1).shuffle(texts)
    path.write_text("\n".join(text for text in texts if text) + "\n", encoding="utf-8")


def _measured(model: str, options: Namespace) -> dict[str, Any]:
    trunk = load_trunk(model, dtype="float32")
    coder = TextCoder(trunk, CoderConfig())
    found: dict[str, Any] = {"layer_mb": round(layer_bytes(trunk.model) / 1e6, 1)}
    rates: list[float] = []
    for name in MEASURED:
        parts = {}
        for part in ("train", "test"):
            rows = load_rows(name, part, options.data)
            started = time.perf_counter()
            parts[part] = _encoded(coder, rows)
            rates.append(len(rows) / (time.perf_counter() - started))
        learner = ClosedFormLearner(dense_size=coder.dense_size, sketch_size=coder.sketch_size)
        learner.learn(parts["train"])
        learner.settle()
        said = learner.predict(parts["test"])
        right = sum(one.label == other.target for one, other in zip(said, parts["test"], strict=True))
        found[f"{name}_accuracy"] = round(100 * right / len(said), 2)
    return {**found, "texts_per_second": round(statistics.median(rates), 1)}


def _encoded(coder: TextCoder, rows: Sequence[Any]) -> list[Example]:
    examples = [Example(id=str(k), text=row.text, target=row.label) for k, row in enumerate(rows)]
    codes = coder.encode_examples(examples)
    return [example.with_code(code) for example, code in zip(examples, codes, strict=True)]
