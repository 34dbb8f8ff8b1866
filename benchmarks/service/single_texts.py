"""Part ``load``: predictions of single texts, beside what an hour's application gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.service.allowed import encoder_alone, workers_alone
from benchmarks.service.learned import run_at, shuffled
from benchmarks.service.rival import rival_command, write_vectors
from benchmarks.service.started import Started, listening, started
from benchmarks.service.wrk import load, write_bodies

__all__ = ["single_texts"]

_CALLERS = (1, 8, 32)


def single_texts(folder: Path, num_examples: int, seconds: float, workers: int) -> Iterator[dict[str, Any]]:
    """Throughput and times to an answer, of the service and of the rival, in one run."""
    place = run_at(folder, "banking77", num_examples)
    texts = [row.text for row in shuffled("banking77", "test")]
    bodies = write_bodies(folder / "texts.jsonl", [{"text": text} for text in texts])
    encoder = encoder_alone(texts, workers=workers, batch=16, seconds=seconds)
    yield {"what": "forward passes alone, batches of 16", "per_second": round(encoder, 1)}
    alone = workers_alone(place, texts, workers=workers, callers=32, seconds=seconds)
    yield {"what": "workers alone, 32 texts at once", "per_second": round(alone, 1)}
    with started(place, "--workers", str(workers)) as service:
        for told in _asked(service, bodies, seconds):
            ratios = {"to_workers": round(told["per_second"] / alone, 3)} if told["callers"] == 32 else {}
            ratios |= {"to_encoder": round(told["per_second"] / encoder, 3)} if ratios else {}
            yield {"what": "everlearn serve", **told, **ratios}
    rows = shuffled("banking77")[:num_examples]
    vectors = write_vectors(folder / "rival.npy", [row.text for row in rows], [row.label for row in rows])
    command, port = rival_command(workers)
    with listening(command, port, "/readyz", RIVAL_VECTORS=str(vectors)) as rival:
        for told in _asked(rival, bodies, seconds):
            yield {"what": "rival", **told}


def _asked(service: Started, bodies: Path, seconds: float) -> Iterator[dict[str, Any]]:
    load(service.url, "/v1/predict", bodies, callers=32, seconds=seconds)  # kernels are made for each shape
    for callers in _CALLERS:
        found = load(service.url, "/v1/predict", bodies, callers=callers, seconds=seconds)
        yield {"callers": callers, **found.to_json()}
