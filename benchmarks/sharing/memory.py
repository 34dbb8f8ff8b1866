"""Memory of several processes that encode on one trunk, beside as many with a copy of their own.

Every process attaches (or loads) the trunk, one after the other, and encodes so many texts, one by one, on
one thread. When all have done so, and are still there, each reads its own ``smaps``: PSS (its share of pages,
those of several processes divided among them) of the mapped weights, and of everything. Codes are compared to
the bit with those of a private copy.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command_line import scratch_folder
from benchmarks.datasets import load_rows

__all__ = ["figures", "pss_mb"]


def figures(options: Namespace) -> Iterator[dict[str, Any]]:
    """Both ways, in both number formats."""
    texts = [row.text for row in load_rows("clinc150", "test", options.data)]
    texts = texts[: options.predictions]
    folder = scratch_folder()
    for dtype in ("float32", "bfloat16"):
        _with_processes(1, folder, dtype, texts[:2])  # makes the file of weights
        size = sum(path.stat().st_size for path in folder.glob("*.weights")) / 1e6
        shared = _with_processes(options.processes, folder, dtype, texts)
        private = _with_processes(options.processes, None, dtype, texts)
        weights = sum(one["weights_mb"] for one in shared)
        yield {
            "dtype": dtype,
            "processes": options.processes,
            "predictions": len(texts),
            "weights_file_mb": round(size, 1),
            "weights_pss_mb": round(weights, 1),
            "weights_to_one_copy": round(weights / size, 3),
            "all_pss_mb": round(sum(one["all_mb"] for one in shared)),
            "all_pss_mb_private": round(sum(one["all_mb"] for one in private)),
            "attach_ms": sorted(round(one["ready_ms"], 1) for one in shared),
            "load_ms_private": sorted(round(one["ready_ms"], 1) for one in private),
            "same_codes": len({one["codes"] for one in [*shared, *private]}) == 1,
        }
        for path in folder.glob("*"):
            path.unlink()


def _with_processes(num: int, store: Path | None, dtype: str, texts: Sequence[str]) -> list[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    everyone, turns, results = context.Barrier(num), context.Lock(), context.Queue()
    arguments = (store, dtype, list(texts), everyone, turns, results)
    workers = [context.Process(target=_work, args=arguments) for _ in range(num)]
    for worker in workers:
        worker.start()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return found


def _work(store: Path | None, dtype: Any, texts: list[str], everyone: Any, turns: Any, results: Any) -> None:
    import torch

    from everlearn.models import CoderConfig, TextCoder, load_trunk
    from everlearn.sharing.trunk_store import TrunkStore

    torch.set_num_threads(1)
    load = load_trunk if store is None else TrunkStore(store).trunk
    load("minilm", dtype=dtype)  # imports what is imported on first use
    everyone.wait()
    with turns:
        started = time.perf_counter()
        trunk = load("minilm", dtype=dtype)
        ready = 1000 * (time.perf_counter() - started)
    coder = TextCoder(trunk, CoderConfig())
    digest = hashlib.sha256()
    for text in texts:
        digest.update(coder.encode([text])[0].dense.tobytes())
    everyone.wait()
    weights, everything = pss_mb()
    everyone.wait()
    results.put({"weights_mb": weights, "all_mb": everything, "ready_ms": ready, "codes": digest.hexdigest()})


def pss_mb(process: int | str = "self") -> tuple[float, float]:
    """PSS of mapped weights, and of everything, in 10⁶ bytes."""
    weights = everything = 0
    is_weights = False
    for line in Path(f"/proc/{process}/smaps").read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition(":")
        if "-" in name and " " in name:  # the head of a mapping: addresses, rights, …, path
            is_weights = line.endswith(".weights")
        elif name == "Pss":
            kibibytes = int(rest.split()[0])
            everything += kibibytes
            weights += kibibytes if is_weights else 0
    return weights * 1024 / 1e6, everything * 1024 / 1e6
