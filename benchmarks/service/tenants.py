"""Part ``hub``: many tenants in one service, beside one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.service.learned import hub_at, shuffled
from benchmarks.service.started import started
from benchmarks.service.wrk import load, write_bodies

__all__ = ["tenants"]


def tenants(folder: Path, num_tenants: int, seconds: float, workers: int) -> Iterator[dict[str, Any]]:
    """Throughput at 32 callers where each text is another tenant's, to that of one of the same size."""
    place = hub_at(folder, num_tenants, 300, 20)
    chance, texts = random.Random(0), [row.text for row in shuffled("clinc150", "test")]
    one = write_bodies(folder / "one.jsonl", [{"text": text, "tenant": "t0000"} for text in texts])
    names = [f"t{chance.randrange(num_tenants):04d}" for _ in texts]
    asked = [{"text": text, "tenant": name} for text, name in zip(texts, names, strict=True)]
    many = write_bodies(folder / "many.jsonl", asked)
    with started(place, "--workers", str(workers)) as service:
        for bodies in (one, many):  # heads are published and mapped
            load(service.url, "/v1/predict", bodies, callers=32, seconds=seconds)
        for _ in range(3):
            alone = load(service.url, "/v1/predict", one, callers=32, seconds=seconds)
            mixed = load(service.url, "/v1/predict", many, callers=32, seconds=seconds)
            yield {
                "what": f"{num_tenants} tenants beside one, 32 callers",
                "one": alone.to_json(),
                "many": mixed.to_json(),
                "ratio": round(mixed.per_second / alone.per_second, 3),
            }
