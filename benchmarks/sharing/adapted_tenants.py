"""A hub whose tenants read with adapters of their own, beside one without adapters, and an encoder for each.

64 tenants of 60 examples and 5 labels each; every adapter has rank 8 and random numbers. A request has one
short text for each tenant. The naive rival merges each adapter into an encoder of its own, and asks one
tenant after the other; its memory is that of so many copies, measured on eight.
"""

from __future__ import annotations

import random
import shutil
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from benchmarks.command_line import scratch_folder
from benchmarks.datasets import Row, load_rows
from benchmarks.sharing.memory import pss_mb
from benchmarks.sharing.mixed import TARGETS, random_adapter
from everlearn import Hub, Run
from everlearn.models import load_trunk
from everlearn.models.storage.adapters import write_adapter
from everlearn.types import Example

__all__ = ["figures"]

TENANTS, EXAMPLES, LABELS, RIVALS = 64, 60, 5, 8


def figures(options: Namespace) -> Iterator[dict[str, Any]]:
    """One line for each choice of layers."""
    torch.set_num_threads(options.threads)
    folder = scratch_folder()
    trunk = load_trunk("minilm", dtype="float32", device="cpu")
    names = [f"t{k:02d}" for k in range(TENANTS)]
    queries = [row.text for row in load_rows("clinc150", "test", options.data)][:TENANTS]
    asked: list[tuple[str, Example | str]] = list(zip(names, queries, strict=True))
    for number, (title, targets) in enumerate(TARGETS.items()):
        own = {}
        for k, name in enumerate(names):
            own[name] = folder / f"adapters-{number}" / name
            own[name].mkdir(parents=True)
            write_adapter(own[name], random_adapter(trunk, k, targets), "minilm")
        with ExitStack() as opened:
            plain = opened.enter_context(_hub(folder / f"plain-{number}", names, {}, options.data))
            hub = opened.enter_context(_hub(folder / f"adapted-{number}", names, own, options.data))
            before = pss_mb()[1]
            runs = [
                opened.enter_context(
                    Run.open(_copied(folder / f"run-{number}-{name}", hub, name), mode="read")
                )
                for name in names[:RIVALS]
            ]
            for run, query in zip(runs, queries, strict=False):
                run.predict([query])
            copy_mb = (pss_mb()[1] - before) / RIVALS

            def by_copies(runs: list[Run] = runs) -> None:
                for run, query in zip(runs, queries, strict=False):
                    run.predict([query])

            ways: dict[str, tuple[Callable[[], object], int]] = {
                "without adapters": (lambda hub=plain: hub.predict(asked), TENANTS),  # type: ignore[misc]
                "with adapters": (lambda hub=hub: hub.predict(asked), TENANTS),  # type: ignore[misc]
                "a merged encoder each": (by_copies, RIVALS),
            }
            speed = _texts_a_second(ways, options.rounds)
            yield {
                "layers": title,
                "threads": options.threads,
                "texts_a_second": {name: round(value) for name, value in speed.items()},
                "with_to_without": round(speed["with adapters"] / speed["without adapters"], 3),
                "resident_mb": [one.memory()["resident_mb"] for one in (plain, hub)],
                "mb_a_merged_encoder": round(copy_mb, 1),
                "labels_as_merged": _agreement(runs, hub, names, queries),
            }


def _hub(path: Path, names: list[str], adapters: dict[str, Path], data: str | None) -> Hub:
    rows, by_label = load_rows("clinc150", "train", data), dict[str, list[Row]]()
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    with Hub.open(path, {"model.dtype": "float32"}) as hub:
        for k, name in enumerate(names):
            draw = random.Random(k)
            chosen = [
                row
                for label in draw.sample(sorted(by_label), LABELS)
                for row in draw.sample(by_label[label], EXAMPLES // LABELS)
            ]
            hub.add(name, {"model.adapter": str(adapters[name])} if name in adapters else None)
            hub.learn(
                name, [Example(id=str(n), text=row.text, target=row.label) for n, row in enumerate(chosen)]
            )
    return Hub.open(path)


def _copied(path: Path, hub: Hub, name: str) -> Path:
    """A copy of a tenant's run."""
    shutil.copytree(hub.run_folder(name), path)
    return path


def _texts_a_second(ways: dict[str, tuple[Callable[[], object], int]], rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, (way, _) in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    return {name: ways[name][1] / statistics.median(taken[1:]) for name, taken in seconds.items()}


def _agreement(runs: list[Run], hub: Hub, names: list[str], queries: list[str]) -> float:
    """Share of labels that a hub gives as the runs by themselves do."""
    same = []
    for run, name in zip(runs, names, strict=False):
        said = hub.predict([(name, query) for query in queries])
        same += [one.label == other.label for one, other in zip(run.predict(queries), said, strict=True)]
    return round(sum(same) / len(same), 4)
