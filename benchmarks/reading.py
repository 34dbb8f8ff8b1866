"""A language model reads a text in chunks, with carried context or without; losses are kept in a file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.environment import describe_environment
from benchmarks.long_texts import IntArray
from everlearn.context import Carry, CarryConfig, Lanes, Rows, TokenRun, make_carry
from everlearn.models.language.causal import LanguageModel

__all__ = ["CHUNK", "IntArray", "Losses", "SavedLosses", "losses", "read"]

CHUNK = 256
Losses = npt.NDArray[np.float64]


@torch.no_grad()
def losses(loaded: LanguageModel, ids_T: IntArray, config: CarryConfig) -> Losses:
    """Nats of each token but the first (T - 1,), read in chunks with the carry, or whole."""
    length = len(ids_T) if config.window is None else CHUNK
    found = []
    for states_LH, labels_L in read(loaded.model, ids_T, config, length):
        for start in range(0, len(labels_L), CHUNK):
            part = slice(start, start + CHUNK)
            logits_LV = loaded.model.get_output_embeddings()(states_LH[part]).float()
            found.append(torch.nn.functional.cross_entropy(logits_LV, labels_L[part], reduction="none"))
    return torch.cat(found).double().numpy()


@torch.no_grad()
def read(
    model: Any, ids_T: IntArray, config: CarryConfig, chunk_length: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Last hidden states (L, H) and labels (L,) of one text, chunk by chunk."""
    carry: Carry = make_carry(model, config, num_lanes=1)
    lanes = Lanes(1, chunk_length, carry.one_document_per_row)
    everything = np.ones(len(ids_T), bool)
    parts: dict[str, Any] = {"ids": ids_T, "is_target": everything, "num_bytes": everything.astype(np.int32)}
    lanes.add(TokenRun(example_id="text", document="text", **parts))
    while (chunk := lanes.take(chunk_length, flush=True)) is not None:
        rows = Rows.from_chunk(chunk)
        result = carry.forward(model, rows)
        carry.advance(rows, result)
        yield result.states_RLH[0], torch.from_numpy(chunk.labels[0])


class SavedLosses:
    """Losses by name, in a JSON file that grows."""

    def __init__(self, path: Path, num_tokens: int) -> None:
        self._path = path
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if known and known["tokens"] != num_tokens:
            raise SystemExit(f"{path} holds results for --tokens {known['tokens']}; give another --out")
        self._json = known or {"tokens": num_tokens, "environment": describe_environment(), "results": {}}

    @property
    def losses(self) -> dict[str, Losses]:
        return {name: np.array(one["nats"]) for name, one in self._json["results"].items()}

    def measure(self, name: str, run: Callable[[], Losses]) -> None:
        if name in self._json["results"]:
            return
        start = time.perf_counter()
        found = run()
        seconds = time.perf_counter() - start
        rounded = [float(f"{nats:.6g}") for nats in found]
        self._json["results"][name] = {"seconds": round(seconds, 1), "nats": rounded}
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self._json), encoding="utf-8")
        part.replace(self._path)
        print(
            json.dumps({"name": name, "mean": round(float(found.mean()), 6), "seconds": round(seconds, 1)}),
            flush=True,
        )
