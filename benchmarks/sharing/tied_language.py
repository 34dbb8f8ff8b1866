"""SmolLM2 with tied layers: memory, speed and bits per byte.

Its thirty layers share the weights of so many, with a part of rank 32 each, and are healed on WikiText's
paragraphs. Beside them: the original, the tied model before it is healed, and the naive way to fewer weights,
every other layer left out, healed alike. Bits per byte are those of other text: Moby-Dick and presidents'
speeches, each document by itself. Two cores make few steps of what takes a GPU an hour, so this is a trial
that shows the way and not the end of it.
"""

from __future__ import annotations

import math
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from benchmarks.command_line import scratch_folder
from benchmarks.language_texts import documents, take_bytes
from benchmarks.sharing.fewer_layers import with_fewer_layers
from everlearn.learning.tying.healing import Healing, HealingConfig
from everlearn.models.language.causal import LanguageModel, load_language_model
from everlearn.models.tying.structure import layer_stack
from everlearn.models.tying.tie import layer_bytes
from everlearn.runtime.commands.tie import TieRequest, tie_model
from everlearn.types import Example

__all__ = ["figures"]

MEASURED, MEASURED_BYTES = ("moby-dick", "presidential"), 12_000
HEALED_ON, LEAST_CHARACTERS, MOST_CHARACTERS = "wikitext", 80, 400
UNIQUE, RANK, BATCH, WINDOW = 15, 32, 8, 256


def figures(options: Namespace) -> Iterator[dict[str, Any]]:
    """The original, tied as it begins, tied and healed, and fewer layers healed."""
    torch.set_num_threads(options.threads)
    folder: Path = options.models or scratch_folder()
    folder.mkdir(parents=True, exist_ok=True)
    stream, texts = folder / "paragraphs.txt", _paragraphs(options.data)
    stream.write_text("\n".join(texts) + "\n", encoding="utf-8")
    rows = {name: take_bytes(documents(name, "test", options.data), MEASURED_BYTES) for name in MEASURED}
    original = load_language_model("smollm2", dtype="float32")
    yield {"model": "original", **_measured(original, rows)}
    for name, steps in (("tied", 0), ("tied and healed", options.steps)):
        out = folder / f"smollm2-{UNIQUE}-{steps}"
        made: dict[str, Any] = {}
        if not (out / "config.json").exists():
            started = time.perf_counter()
            outcome = tie_model(
                TieRequest(
                    model="smollm2",
                    out=out,
                    unique=UNIQUE,
                    rank=RANK,
                    stream=str(stream) if steps else None,
                    steps=max(1, steps),
                    batch_size=BATCH,
                    threads=options.threads,
                )
            )
            made = {
                "steps": steps,
                "healing_seconds": round(time.perf_counter() - started),
                "distance": [outcome.loss_before, outcome.loss_after],
            }
        yield {"model": name, **made, **_measured(load_language_model(str(out), dtype="float32"), rows)}
    config = HealingConfig(num_steps=options.steps, batch_size=BATCH)
    model, depths = with_fewer_layers(original.model, UNIQUE)
    healing = Healing(original, model, config, depths)
    started = time.perf_counter()
    for step in range(options.steps):
        healing.step(texts[64:][step * BATCH : (step + 1) * BATCH])
    seconds = round(time.perf_counter() - started)
    shorter = LanguageModel(model, original.tokenizer, original.name, original.sha256, original.max_length)
    yield {
        "model": f"{UNIQUE} layers, the others left out, healed",
        "steps": options.steps,
        "healing_seconds": seconds,
        **_measured(shorter, rows),
    }


def _paragraphs(data: str | None) -> list[str]:
    lines = (
        line for document in documents(HEALED_ON, "train", data) for line in str(document.text).split("\n")
    )
    return [" ".join(line.split())[:MOST_CHARACTERS] for line in lines if len(line) >= LEAST_CHARACTERS]


@torch.inference_mode()
def _measured(language: LanguageModel, rows: dict[str, list[Example]]) -> dict[str, Any]:
    """By windows, each read by itself; all models alike."""
    model = language.model.eval()
    found: dict[str, Any] = {
        "layers": len(layer_stack(model)),
        "layer_mb": round(layer_bytes(model) / 1e6, 1),
    }
    started, all_tokens = time.perf_counter(), 0
    for name, examples in rows.items():
        nats, num_bytes = 0.0, 0
        for example in examples:
            ids = torch.tensor(language.tokenizer(str(example.text))["input_ids"])
            for window in torch.split(ids, WINDOW):
                if len(window) < 2:
                    continue
                logits = model(input_ids=window[None]).logits[0, :-1].float()
                nats += float(functional.cross_entropy(logits, window[1:], reduction="sum"))
                num_bytes += len(language.tokenizer.decode(window[1:]).encode())
                all_tokens += len(window)
        found[f"{name}_bits_per_byte"] = round(nats / math.log(2) / num_bytes, 3)
    return {**found, "tokens_per_second": round(all_tokens / (time.perf_counter() - started))}
