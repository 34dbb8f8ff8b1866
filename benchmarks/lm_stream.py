"""Five domains one after another: what a language model forgets, and what keeps it from forgetting.

Run: ``python -m benchmarks.lm_stream [--arms plain joint recommended] [--scale 1.0] [--threads N] [--out
FILE]``

SmolLM2-135M learns Shakespeare, WikiText, Song poetry, Genesis in six languages and presidential
speeches, one pass, in this order; after each domain all five are scored on their test parts, in bits per
byte, and the general text (WikiText's test part) before and after. ``joint`` learns the same documents
shuffled: what a stream without order would give. Settings are chosen with ``--validation``, which scores
on documents of the training parts that no arm learns. Finished arms are kept in the file and not made
again.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import describe_environment, environment_line
from benchmarks.language_texts import DOMAINS, documents, take_bytes
from benchmarks.lm_stream_chart import write_forgetting_chart
from everlearn import Example
from everlearn.context import CarryConfig
from everlearn.evaluation.text_scores import DomainMatrix, bits_per_byte
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.learning.language import LanguageConfig, LanguageLearner
from everlearn.methods import create_method
from everlearn.models.language.causal import load_language_model
from everlearn.types import Boundary

__all__ = ["ARMS", "main"]

# About 30,000 tokens of each domain at scale 1.
LEARNED_BYTES = {
    "shakespeare": 100_000,
    "wikitext": 120_000,
    "song-poetry": 50_000,
    "genesis": 75_000,
    "presidential": 130_000,
}
TESTED_BYTES = {
    "shakespeare": 20_000,
    "wikitext": 40_000,
    "song-poetry": 12_000,
    "genesis": 16_000,
    "presidential": 24_000,
}
GENERAL = "wikitext"

ARMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "joint": {"shuffled": True},
    "recommended": {
        "methods": {"replay": {"memory_examples": 4_000, "replay_share": 0.5}},
        "average_decay": 0.98,
    },
}
"""What each arm does beside plain fine-tuning in order."""


def main() -> None:
    """Run the arms and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), metavar="ARM")
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the documents learned and tested")
    parser.add_argument("--out", type=Path, default=Path("lm_stream.json"), help="figures of finished arms")
    parser.add_argument("--chart", type=Path, help="write the chart of forgetting here (SVG)")
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    parser.add_argument("--validation", action="store_true", help="score on training documents held back")
    parser.add_argument("--train", default="lora", help="trained part, as of `everlearn learn`")
    parser.add_argument("--rank", type=int, default=16, help="rank of LoRA")
    parser.add_argument("--rate", type=float, default=5e-4, help="learning rate")
    parser.add_argument("--arm-settings", help="JSON in place of the arm's own, for choosing settings")
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    print(environment_line(describe_environment()), flush=True)
    done: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    for arm in options.arms:
        if arm in done:
            continue
        settings = json.loads(options.arm_settings) if options.arm_settings else ARMS[arm]
        done[arm] = run_arm(settings, options)
        options.out.write_text(json.dumps(done, indent=1))
        print(arm, json.dumps(done[arm]["final"]), f"{done[arm]['seconds']:,.0f} s", flush=True)
    print_tables({arm: done[arm] for arm in options.arms})
    if options.chart is not None:
        write_forgetting_chart(options.chart, {arm: done[arm] for arm in options.arms})


def run_arm(settings: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Learn the stream as an arm does; figures as JSON."""
    learned = {
        domain: take_bytes(
            documents(domain, "train", options.data), int(LEARNED_BYTES[domain] * options.scale)
        )
        for domain in DOMAINS
    }
    tested = [one for domain in DOMAINS for one in _tested(domain, learned[domain], options)]
    learner = _learner(settings, options)
    started = time.perf_counter()
    matrix = DomainMatrix()
    before = _bits(learner, tested)
    matrix.add(None, before)
    num_tokens, learning = 0, 0.0
    for name, stream in _experiences(learned, bool(settings.get("shuffled"))):
        start = time.perf_counter()
        for k in range(0, len(stream), 16):
            learner.learn(stream[k : k + 16])
        learner.settle()
        learning += time.perf_counter() - start
        learner.on_boundary(Boundary(reason="experience", num_examples=learner.num_examples, name=name))
        num_tokens = learner.num_tokens
        matrix.add(name, _bits(learner, tested))
        print(name, {domain: round(bits, 3) for domain, bits in _last(matrix).items()}, flush=True)
    final = _last(matrix)
    return {
        "matrix": matrix.to_json(),
        "before": before,
        "final": {**final, "mean": sum(final.values()) / len(final)},
        "general_change_percent": 100.0 * (final[GENERAL] / before[GENERAL] - 1.0),
        "tokens": num_tokens,
        "learning_seconds": learning,
        "seconds": time.perf_counter() - started,
        "settings": settings | {"train": options.train, "rank": options.rank, "rate": options.rate},
        "environment": describe_environment(),
    }


def _learner(settings: dict[str, Any], options: argparse.Namespace) -> LanguageLearner:
    optimization = GradientConfig(
        trainable=settings.get("train", options.train),
        lora_rank=options.rank,
        lora_alpha=2 * options.rank,
        learning_rate=settings.get("rate", options.rate),
        warmup_steps=10,
    )
    config = LanguageConfig(
        num_lanes=4,
        chunk_length=256,
        tokens_per_step=settings.get("tokens_per_step", 1_024),
        carry=CarryConfig(window=512),
        optimization=optimization,
        stability=StabilityConfig(average_decay=settings.get("average_decay")),
    )
    methods = [create_method(name, values) for name, values in settings.get("methods", {}).items()]
    return LanguageLearner(load_language_model("smollm2", dtype="float32"), config, methods)


def _tested(domain: str, learned: Sequence[Example], options: argparse.Namespace) -> list[Example]:
    num_bytes = int(TESTED_BYTES[domain] * options.scale)
    if not options.validation:
        return take_bytes(documents(domain, "test", options.data), num_bytes)
    names = {one.id for one in learned}
    rest = [one for one in documents(domain, "train", options.data) if one.id not in names]
    random.Random(1).shuffle(rest)
    return take_bytes(rest, num_bytes)


def _experiences(learned: dict[str, list[Example]], is_shuffled: bool) -> list[tuple[str, list[Example]]]:
    if not is_shuffled:
        return list(learned.items())
    together = [one for stream in learned.values() for one in stream]
    random.Random(0).shuffle(together)
    return [("all", together)]


def _bits(learner: LanguageLearner, tested: Sequence[Example]) -> dict[str, float]:
    found = {str(one.domain): bits_per_byte(one.nats, one.bytes) for one in learner.score(tested)}
    return {domain: bits for domain, bits in found.items() if bits is not None}


def _last(matrix: DomainMatrix) -> dict[str, float]:
    return {
        domain: bits
        for domain, bits in zip(matrix.domains, matrix.values[-1], strict=True)
        if bits is not None
    }


def print_tables(arms: dict[str, dict[str, Any]]) -> None:
    """The figures of all arms, and the matrix of each that learned the domains in order."""
    print(f"\n| arm | {' | '.join(DOMAINS)} | mean | to joint | general text | forgetting | tokens/s |")
    print(f"|---|{'---|' * (len(DOMAINS) + 5)}")
    joint = arms.get("joint", {}).get("final", {}).get("mean")
    for arm, one in {"before": _before(arms), **arms}.items():
        final = one["final"]
        matrix = DomainMatrix.from_json(one["matrix"]) if "matrix" in one else None
        cells = [arm, *(f"{final[domain]:.3f}" for domain in DOMAINS), f"{final['mean']:.3f}"]
        cells.append("" if joint is None else f"{100 * (final['mean'] / joint - 1):+.1f} %")
        cells.append("" if matrix is None else f"{one['general_change_percent']:+.1f} %")
        forgetting = None if matrix is None else matrix.forgetting
        cells.append("" if forgetting is None else f"{forgetting:.3f}")
        cells.append("" if matrix is None else f"{one['tokens'] / one['learning_seconds']:,.0f}")
        print(f"| {' | '.join(cells)} |")
    for arm, one in arms.items():
        matrix = DomainMatrix.from_json(one["matrix"])
        if len(matrix.learned) > 2:
            print(f"\nBits per byte after each domain, {arm}:\n\n{matrix.markdown()}")


def _before(arms: dict[str, dict[str, Any]]) -> dict[str, Any]:
    before = next(iter(arms.values()))["before"]
    return {"final": {**before, "mean": sum(before.values()) / len(before)}}


if __name__ == "__main__":
    main()
