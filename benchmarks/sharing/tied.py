"""Encoders with tied layers, healed on texts of other sets: memory, speed and accuracy.

MiniLM's six layers share the weights of so many, and keep a part of so low a rank each. Healing learns from
unlabelled texts of sets that accuracy is not measured on. Accuracy is that of the closed-form learner on the
test parts of CLINC150 and Banking77, after their training parts. Beside them: the original encoder, and the
naive way to fewer weights, to keep every second or third layer and leave the others out, healed alike.

Models and their figures are kept in ``--models DIR``: another run makes what is missing, and takes the
speed of all, best on a quiet machine.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.command_line import scratch_folder
from benchmarks.datasets import load_rows
from benchmarks.line_chart import Line, Panel, write_chart
from benchmarks.sharing.fewer_layers import with_fewer_layers
from everlearn import ClosedFormLearner
from everlearn.learning.tying.healing import Healing, HealingConfig
from everlearn.models import CoderConfig, TextCoder, load_trunk
from everlearn.models.encoder.load import Trunk
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
TIMED_TEXTS, TIMED_ROUNDS = 1_000, 5
LEFT_OUT = "left out"
STYLES = {
    "rank 0": ("#9ecae1", ""),
    "rank 8": ("#4292c6", ""),
    "rank 16": ("#2171b5", ""),
    "rank 32": ("#08306b", ""),
    LEFT_OUT: ("#d94801", "6 3"),
    "original": ("#555555", "2 2"),
}

_FIGURES = "figures.json"

Made = dict[str, Any]


def figures(options: Namespace) -> Iterator[dict[str, Any]]:
    """The original, one line for each number of layers and each rank, and each rival; then their speed."""
    torch.set_num_threads(options.threads)
    folder: Path = options.models or scratch_folder()
    folder.mkdir(parents=True, exist_ok=True)
    stream = folder / "texts.txt"
    if not stream.exists():
        _write_texts(stream, options.data)
    found: list[Made] = [{"layers": "original", "kind": "original", **_measured("minilm", options)}]
    yield found[0]
    specs = {"original": "minilm"}
    for unique in options.unique:
        ways: list[tuple[str, Callable[[Path], Made]]] = [
            (f"rank {rank}", lambda out, unique=unique, rank=rank: _tied(out, unique, rank, stream, options))  # type: ignore[misc]
            for rank in options.ranks
        ]
        ways.append(
            (LEFT_OUT, lambda out, unique=unique: _with_fewer_layers(out, unique, stream, options))  # type: ignore[misc]
        )
        for kind, make in ways:
            out = folder / f"{unique}-{kind.replace(' ', '-')}"
            if (out / "config.json").exists() and (out / _FIGURES).exists():
                kept = json.loads((out / _FIGURES).read_text(encoding="utf-8"))
            else:
                kept = {} if (out / "config.json").exists() else make(out)
                kept |= _measured(str(out), options)
                (out / _FIGURES).write_text(json.dumps(kept), encoding="utf-8")
            name = f"{unique} unique, {kind}" if kind != LEFT_OUT else f"{unique} layers, the others left out"
            specs[name] = str(out)
            found.append({"layers": name, "kind": kind, **kept})
            yield found[-1]
    yield from _speeds(specs, options)
    if options.chart:
        _draw(Path(options.chart), found)


def _tied(out: Path, unique: int, rank: int, stream: Path, options: Namespace) -> Made:
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
    return {
        "steps": outcome.steps,
        "healing_seconds": round(time.perf_counter() - started),
        "distance_before": outcome.loss_before,
        "distance_after": outcome.loss_after,
        "cosine": outcome.cosine,
    }


def _with_fewer_layers(out: Path, kept: int, stream: Path, options: Namespace) -> Made:
    """The last layer of each group alone; its states are healed to be those at the group's end."""
    original = load_trunk("minilm", dtype="float32")
    model, depths = with_fewer_layers(original.model, kept)
    config = HealingConfig(num_steps=options.steps)
    healing = Healing(original, model, config, depths)
    texts = stream.read_text(encoding="utf-8").split("\n")[256:]
    started = time.perf_counter()
    for step in range(options.steps):
        healing.step(texts[step * config.batch_size : (step + 1) * config.batch_size])
    seconds = time.perf_counter() - started
    out.mkdir()
    original.tokenizer.save_pretrained(out)
    model.save_pretrained(out)
    return {"steps": options.steps, "healing_seconds": round(seconds)}


def _write_texts(path: Path, data: str | None) -> None:
    texts: list[str] = []
    for name in HEALED_ON:
        rows = load_rows(name, "train", data)
        random.Random(0).shuffle(rows)
        texts += [" ".join(row.text.split())[:MOST_CHARACTERS] for row in rows[:MOST_OF_ONE]]
    random.Random(1).shuffle(texts)
    path.write_text("\n".join(text for text in texts if text) + "\n", encoding="utf-8")


def _coder(model: str) -> tuple[Trunk, TextCoder]:
    trunk = load_trunk(model)
    return trunk, TextCoder(trunk, CoderConfig())


def _measured(model: str, options: Namespace) -> Made:
    trunk, coder = _coder(model)
    width = 2 if trunk.dtype == torch.bfloat16 else 4
    found: Made = {
        "dtype": str(trunk.dtype).removeprefix("torch."),
        "layer_mb": round(layer_bytes(trunk.model) / 1e6 * 4 / width, 1),  # as in float32
    }
    for name in MEASURED:
        parts = {part: _encoded(coder, load_rows(name, part, options.data)) for part in ("train", "test")}
        learner = ClosedFormLearner(dense_size=coder.dense_size, sketch_size=coder.sketch_size)
        learner.learn(parts["train"])
        learner.settle()
        said = learner.predict(parts["test"])
        right = sum(one.label == other.target for one, other in zip(said, parts["test"], strict=True))
        found[f"{name}_accuracy"] = round(100 * right / len(said), 2)
    return found


def _speeds(specs: dict[str, str], options: Namespace) -> Iterator[Made]:
    """Encoders in turn, round after round, so that what else the machine does meets all of them."""
    coders = {name: _coder(spec)[1] for name, spec in specs.items()}
    rows = load_rows(MEASURED[0], "test", options.data)[:TIMED_TEXTS]
    texts = [row.text for row in rows]
    seconds: dict[str, list[float]] = {name: [] for name in coders}
    for _ in range(TIMED_ROUNDS + 1):
        for name, coder in coders.items():
            started = time.perf_counter()
            coder.encode(texts)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(found[1:]) for name, found in seconds.items()}
    for name, median in medians.items():
        yield {
            "layers": name,
            "texts_per_second": round(len(texts) / median, 1),
            "to_original": round(medians["original"] / median, 3),
        }


def _draw(path: Path, found: Sequence[Made]) -> None:
    kinds = list(dict.fromkeys(str(one["kind"]) for one in found))
    panels = []
    for name in MEASURED:
        lines = [
            Line(
                kind,
                sorted(
                    (float(one["layer_mb"]), float(one[f"{name}_accuracy"]))
                    for one in found
                    if one["kind"] == kind
                ),
            )
            for kind in kinds
        ]
        panels.append(Panel(f"{name}: accuracy % by MB of layers", lines))
    write_chart(path, panels, {kind: STYLES[kind] for kind in kinds}, "Layers that share weights")


def _encoded(coder: TextCoder, rows: Sequence[Any]) -> list[Example]:
    examples = [Example(id=str(k), text=row.text, target=row.label) for k, row in enumerate(rows)]
    codes = coder.encode_examples(examples)
    return [example.with_code(code) for example, code in zip(examples, codes, strict=True)]
