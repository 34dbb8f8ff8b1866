"""Part ``embeddings``: vectors of single texts by ``/v1/embeddings``, beside a server that does nothing else.

The peer is Infinity 0.0.78 with the same model, as it is served on a CPU; `make peers-service` makes its
environment. That both give the same vectors is told, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.service.learned import run_at, shuffled
from benchmarks.service.started import Started, free_port, listening, started
from benchmarks.service.wrk import load, write_bodies

__all__ = ["embeddings"]

_CALLERS = (1, 32)
_COMPARED = 20
_PATH = "/v1/embeddings"
_MODEL = "desk"
_ALONE = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
"""It is to ask nobody else, and to tell nobody."""


def embeddings(
    folder: Path, num_examples: int, seconds: float, workers: int, peers: Path | None
) -> Iterator[dict[str, Any]]:
    """Throughput and times to an answer at one caller and at 32.

    Args:
        folder: For the run.
        num_examples: That it has learned; vectors do not depend on it.
        seconds: Of each load.
        workers: Prediction processes of ours.
        peers: The peer's environment; None: ours only.
    """
    place = run_at(folder, "banking77", num_examples)
    texts = [row.text for row in shuffled("banking77", "test")]
    bodies = write_bodies(folder / "vectors.jsonl", [{"model": _MODEL, "input": text} for text in texts])
    with started(place, "--workers", str(workers)) as service:
        ours = _vectors(service, texts)
        for told in _asked(service, bodies, seconds):
            yield {"what": "everlearn serve", **told}
    if peers is None:
        return
    port = free_port()
    with listening(_command(peers, port), port, "/health", **_ALONE) as peer:
        theirs = _vectors(peer, texts)
        for told in _asked(peer, bodies, seconds):
            yield {"what": "infinity", **told}
    yield {"what": "cosine of both vectors of a text", "least": round(float((ours * theirs).sum(1).min()), 4)}


def _command(peers: Path, port: int) -> list[str]:
    from everlearn.models.storage.folder import find_model_folder

    model = str(find_model_folder("minilm")[1])
    return [
        *(str(peers / "bin" / "infinity_emb"), "v2", "--model-id", model, "--served-model-name", _MODEL),
        *("--engine", "torch", "--device", "cpu", "--no-bettertransformer"),
        *("--host", "127.0.0.1", "--port", str(port), "--url-prefix", "/v1"),
    ]


def _asked(service: Started, bodies: Path, seconds: float) -> Iterator[dict[str, Any]]:
    load(service.url, _PATH, bodies, callers=32, seconds=seconds)  # kernels are made for each shape
    for callers in _CALLERS:
        found = load(service.url, _PATH, bodies, callers=callers, seconds=seconds)
        yield {"callers": callers, **found.to_json()}


def _vectors(service: Started, texts: list[str]) -> npt.NDArray[np.float64]:
    """Of the first texts, one a row, of length 1."""
    told = [service.post(_PATH, model=_MODEL, input=text)["data"][0] for text in texts[:_COMPARED]]
    rows = np.array([one["embedding"] for one in told], dtype=np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
