"""A thousand tenants of a hub: memory, latency by how near one is, traffic in less memory than all need.

Each tenant has 300 examples of 20 labels of CLINC150, drawn for it. Codes are made once for all texts and
given with the examples; all else is as a user has it. Queries are texts of the test part.

* hot, warm, cold: single predictions of tenants drawn at random; what they predict by is mapped, or only
  published, or not even that (journal and checkpoint are all there is). Beside them the naive rival: a
  program that opens the tenant's run for each request.
* memory: PSS of the process with all tenants hot, beside one process a tenant.
* traffic: requests of 8 texts, tenants by Zipf (s = 1), with memory for all and for fewer.
* opening: a hub of ten times the tenants, whose further runs are links to the first ones'.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.command_line import scratch_folder
from benchmarks.datasets import load_rows
from benchmarks.line_chart import Line, Panel, write_chart
from everlearn import Hub, Run
from everlearn.models.encoder.pool import ModelPool
from everlearn.runtime.fold.published import publication_of
from everlearn.runtime.folder.run_folder import PUBLISHED
from everlearn.settings import RunConfig
from everlearn.sharing.trunk_store import TrunkStore
from everlearn.tasks.classification.recorded_coder import load_text_coder
from everlearn.types import Example

__all__ = ["figures", "make_hub"]

EXAMPLES, LABELS = 300, 20
OPENED = "opened for each request"
STYLES = {"a hub": ("#2171b5", ""), OPENED: ("#d94801", "6 3")}
TEXTS_A_REQUEST = 8
_OF_ALL = """
import sys
from benchmarks.sharing.memory import pss_mb
from everlearn import Hub
with Hub.open(sys.argv[1]) as hub:
    names, texts = hub.tenants(), sys.argv[2:]
    hub.predict([(names[0], text) for text in texts])
    print(pss_mb()[1])
    for start in range(0, len(names), len(texts)):
        hub.predict(list(zip(names[start : start + len(texts)], texts)))
    print(pss_mb()[1], hub.memory()["resident_mb"])
"""
_OF_ONE = """
import sys
from benchmarks.sharing.memory import pss_mb
from everlearn import Run
with Run.open(sys.argv[1], mode="read") as run:
    for text in sys.argv[2:]:
        run.predict([text])
    print(pss_mb()[1])
"""


def figures(options: Namespace) -> Iterator[dict[str, Any]]:
    """All of it, on one hub."""
    torch.set_num_threads(options.threads)
    started = time.perf_counter()
    path = options.hub or make_hub(options.tenants, options.data)
    seconds = time.perf_counter() - started
    names = [f"t{k:05d}" for k in range(options.tenants)]
    queries = [row.text for row in load_rows("clinc150", "test", options.data)]
    yield {
        "hub": str(path),
        "tenants": options.tenants,
        "seconds_to_make": round(seconds),
        **_sizes(path, names[0]),
    }
    yield _memory(path, names, queries)
    found = _latencies(path, names, queries, options.predictions)
    for title, latencies in found.items():
        yield {"tenant_is": title, **_milliseconds(latencies)}
    traffic = []
    for one in _traffic(path, names, queries):
        traffic.append(one)
        yield one
    yield _opening(path, names)
    if options.chart:
        _draw(Path(options.chart), traffic, float(np.median(found[OPENED])))


def make_hub(num_tenants: int, data: str | None) -> Path:
    """A hub of so many tenants that have learned, none of them open."""
    path = scratch_folder() / "hub"
    rows = load_rows("clinc150", "train", data)
    coder = load_text_coder(RunConfig().model, ModelPool(TrunkStore().trunk))
    examples = [Example(id=str(k), text=row.text, target=row.label) for k, row in enumerate(rows)]
    codes = coder.encode_examples(examples)
    by_label: dict[str, list[Example]] = {}
    for example, code in zip(examples, codes, strict=True):
        by_label.setdefault(str(example.target), []).append(replace(example, code=code))
    with Hub.open(path) as hub:
        for k in range(num_tenants):
            name, draw = f"t{k:05d}", random.Random(k)
            own = [
                one
                for label in draw.sample(sorted(by_label), LABELS)
                for one in draw.sample(by_label[label], EXAMPLES // LABELS)
            ]
            draw.shuffle(own)
            hub.add(name)
            hub.learn(name, own)
    return path


def _sizes(path: Path, name: str) -> dict[str, Any]:
    run = path / "runs" / name
    head = publication_of(run).now()
    assert head is not None
    files = [file for file in run.rglob("*") if file.is_file()]
    unique = {file.stat().st_ino: file.stat().st_size for file in files}
    return {"head_mb": round(head.num_bytes / 1e6, 2), "on_disk_mb": round(sum(unique.values()) / 1e6, 2)}


def _memory(path: Path, names: Sequence[str], queries: Sequence[str]) -> dict[str, Any]:
    """Each in a process of its own, by now without what making the hub took."""
    before, everything, resident = _printed(_OF_ALL, path, *queries[:50])
    (alone,) = _printed(_OF_ONE, path / "runs" / names[0], *queries[:20])
    return {
        "all_hot_mb": round(everything),
        "with_one_mb": round(before),
        "heads_mb": round(resident),
        "processes_mb": round(alone * len(names)),
    }


def _printed(program: str, *arguments: str | Path) -> list[float]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(number) for number in done.stdout.split()]


def _latencies(path: Path, names: Sequence[str], queries: Sequence[str], num: int) -> dict[str, list[float]]:
    draw = random.Random(1)
    asked = [(draw.choice(names), draw.choice(queries)) for _ in range(num)]
    found: dict[str, list[float]] = {}
    with Hub.open(path) as hub:
        for name in names:
            hub.predict([(name, queries[0])])
        found["hot"] = [_seconds(hub, one) for one in asked]
    with Hub.open(path, memory_budget_mb=0.001) as hub:
        hub.predict([asked[0]])
        found["warm"] = [_seconds(hub, one) for one in asked]
    cold = asked[: max(1, num // 5)]
    with Hub.open(path, memory_budget_mb=0.001) as hub:
        hub.predict([asked[0]])
        found["cold"] = []
        for one in cold:
            shutil.rmtree(path / "runs" / one[0] / PUBLISHED)
            found["cold"].append(_seconds(hub, one))
    models = ModelPool(TrunkStore().trunk)
    found[OPENED] = []
    for name, text in cold:
        started = time.perf_counter()
        with Run.open(path / "runs" / name, mode="read", models=models) as run:
            run.predict([text])
        found[OPENED].append(time.perf_counter() - started)
    return found


def _traffic(path: Path, names: Sequence[str], queries: Sequence[str]) -> Iterator[dict[str, Any]]:
    draw = np.random.default_rng(2)
    shares = 1 / np.arange(1, len(names) + 1)
    order = draw.permutation(len(names))
    requests = [
        [
            (names[order[k]], queries[int(draw.integers(len(queries)))])
            for k in draw.choice(len(names), size=TEXTS_A_REQUEST, p=shares / shares.sum())
        ]
        for _ in range(400)
    ]
    head = publication_of(path / "runs" / names[0]).now()
    assert head is not None
    each = head.num_bytes / 1e6 + 0.1
    for parts in (1, 2, 5, 10, 20, 50):
        room = len(names) // parts
        with Hub.open(path, memory_budget_mb=room * each) as hub:
            for request in requests:  # what stays is decided by then
                hub.predict(request)
            started = time.perf_counter()
            for request in requests:
                hub.predict(request)
            seconds = time.perf_counter() - started
            memory = hub.memory()
        yield {
            "memory_for": room,
            "texts_per_second": round(len(requests) * TEXTS_A_REQUEST / seconds, 1),
            "resident": memory["resident_tenants"],
        }


def _draw(path: Path, traffic: Sequence[dict[str, Any]], opened_seconds: float) -> None:
    """Texts a second by the number of tenants that there is memory for."""
    points = sorted((float(one["memory_for"]), float(one["texts_per_second"])) for one in traffic)
    naive = [(at, 1 / opened_seconds) for at, _ in (points[0], points[-1])]
    panel = Panel(
        "texts a second, by tenants that there is memory for", [Line("a hub", points), Line(OPENED, naive)]
    )
    write_chart(path, [panel], STYLES, "A hub's throughput in less memory than all its tenants need")


def _opening(path: Path, names: Sequence[str]) -> dict[str, Any]:
    records, runs = path / "tenants", path / "runs"
    for k in range(len(names), 10 * len(names)):
        name, like = f"t{k:05d}", names[k % len(names)]
        os.link(records / f"{like}.json", records / f"{name}.json")
        shutil.copytree(runs / like, runs / name, copy_function=os.link)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        with Hub.open(path) as hub:
            seconds.append(time.perf_counter() - started)
            num = len(hub.tenants())
    for k in range(len(names), 10 * len(names)):
        (records / f"t{k:05d}.json").unlink()
        shutil.rmtree(runs / f"t{k:05d}")
    return {"tenants_on_disk": num, "open_seconds": sorted(round(one, 3) for one in seconds)}


def _seconds(hub: Hub, asked: tuple[str, str]) -> float:
    started = time.perf_counter()
    hub.predict([asked])
    return time.perf_counter() - started


def _milliseconds(seconds: Sequence[float]) -> dict[str, Any]:
    middle, most = np.percentile(seconds, [50, 99])
    return {
        "predictions": len(seconds),
        "median_ms": round(1000 * middle, 2),
        "p99_ms": round(1000 * most, 2),
    }
