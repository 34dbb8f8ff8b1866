"""Several language models that learn with adapters on one base, in one process and in turn.

Each has LoRA of rank 8 on all linear layers, its own optimizer, lanes and context. All read the same
documents, since a step's activations take memory by their lengths. Beside them one alone, in a process of its
own: its losses must be those of the first. Memory is what the process has resident at most, above what it had
before the base was loaded.
"""

from __future__ import annotations

import multiprocessing
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

__all__ = ["figures"]

TOKENS_A_STEP = 512


def figures(options: Namespace) -> Iterator[dict[str, Any]]:
    """One line: memory and speed of one and of all."""
    one = _in_process(1, options)
    all_ = _in_process(options.learners, options)
    yield {
        "learners": options.learners,
        "threads": options.threads,
        "base_mb": round(one["base_mb"]),
        "one_mb": round(one["peak_mb"]),
        "all_mb": round(all_["peak_mb"]),
        "a_further_one_mb": round((all_["peak_mb"] - one["peak_mb"]) / max(1, options.learners - 1), 1),
        "tokens_a_second_one": round(one["tokens"] / one["seconds"], 1),
        "tokens_a_second_all": round(all_["tokens"] / all_["seconds"], 1),
        "ratio": round(all_["tokens"] / all_["seconds"] / (one["tokens"] / one["seconds"]), 3),
        "first_as_alone": one["losses"] == all_["losses"],
    }


def _in_process(num: int, options: Namespace) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    worker = context.Process(target=_work, args=(num, options.threads, options.data, results))
    worker.start()
    found: dict[str, Any] = results.get()
    worker.join()
    return found


def _work(num: int, threads: int, data: str | None, results: Any) -> None:
    import torch

    from benchmarks.language_texts import documents
    from everlearn.learning.gradient import GradientConfig
    from everlearn.learning.language import LanguageConfig, LanguageLearner
    from everlearn.models.language.causal import load_language_model
    from everlearn.models.storage.skeleton import structural_copy
    from everlearn.process_memory import give_large_blocks_back, peak_memory_mb

    torch.set_num_threads(threads)
    give_large_blocks_back()
    texts = documents("shakespeare", "train", data)[:4]
    start = peak_memory_mb()
    base = load_language_model("smollm2", dtype="float32")
    base.model.requires_grad_(False)
    loaded = _resident_mb()
    settings = GradientConfig(trainable="lora", lora_rank=8, learning_rate=2e-4, dtype="float32")
    config = LanguageConfig(
        num_lanes=2, chunk_length=256, tokens_per_step=TOKENS_A_STEP, optimization=settings
    )
    torch.manual_seed(0)
    learners = [LanguageLearner(replace(base, model=structural_copy(base.model)), config) for _ in range(num)]
    losses: list[float] = []
    tokens, seconds = 0, 0.0
    for turn in range(4):
        for k, learner in enumerate(learners):
            started = time.perf_counter()
            report = learner.learn([texts[turn]])
            if turn:  # the first compiles kernels and fills caches
                seconds += time.perf_counter() - started
                tokens += sum(loss.tokens for loss in report.text_losses)
            if k == 0:
                losses += [loss.nats for loss in report.text_losses]
    results.put(
        {
            "base_mb": loaded - start,
            "peak_mb": peak_memory_mb() - start,
            "tokens": tokens,
            "seconds": seconds,
            "losses": losses,
        }
    )


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * 4096 / 1e6
