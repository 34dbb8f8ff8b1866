"""What carried context does for training: memory that does not grow with the text, and better predictions.

Run: ``python -m benchmarks.context_training [--parts memory quality] [--threads N] [--scale 1.0] [--chart
FILE.svg]``. What carried context is worth without learning is ``benchmarks.context``.

*Memory*: SmolLM2-135M (LoRA, bfloat16) learns one document of 4,000 and of 64,000 tokens chunk by chunk
(256 tokens, window 1,024), and documents of 1,000, 2,000 and 4,000 tokens whole, each in a process of its
own; the peak is that of the process while it learns, less what it held before (of the device's allocator,
where the model is on a CUDA device).

*Quality*: two learners read the same tokens of Moby-Dick, Shakespeare and presidential speeches once, one
with carried context and one that begins anew with every chunk; both are scored on test parts, with and
without it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.environment import describe_environment, environment_line
from benchmarks.language_texts import documents
from benchmarks.line_chart import Line, Panel, write_chart
from everlearn import Example
from everlearn.context import CarryConfig
from everlearn.evaluation.text_scores import bits_per_byte
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.language import LanguageConfig, LanguageLearner
from everlearn.models.language.causal import load_language_model

__all__ = ["main"]

MEMORY = (("carry", 4_000), ("carry", 64_000), ("whole", 1_000), ("whole", 2_000), ("whole", 4_000))
NAMES = {"carry": "chunk by chunk, carried context", "whole": "whole"}
QUALITY_BYTES = 120_000
TESTED_BYTES = 30_000
DOMAINS = ("moby-dick", "shakespeare", "presidential")


def main() -> None:
    """Run the parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", nargs="*", default=["memory", "quality"])
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the text")
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    parser.add_argument("--out", type=Path, help="write the figures here (JSON)")
    parser.add_argument("--chart", type=Path, help="draw the memory into this SVG file")
    parser.add_argument("--measure", nargs=2, metavar=("HOW", "TOKENS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.measure is not None:
        print(json.dumps(measure_memory(options.measure[0], int(options.measure[1]), options.data)))
        return
    print(environment_line(describe_environment()), flush=True)
    figures: dict[str, Any] = {}
    if "memory" in options.parts:
        figures["memory"] = _memory(options)
        if options.chart is not None:
            _write_chart(options.chart, figures["memory"])
    if "quality" in options.parts:
        figures["quality"] = _quality(options)
    if options.out is not None:
        options.out.write_text(json.dumps(figures, indent=1))


def _memory(options: argparse.Namespace) -> list[dict[str, Any]]:
    print("\n| learned | tokens | peak above the model, MB | tokens a second |\n| --- | --- | --- | --- |")
    rows = []
    for how, tokens in MEMORY:
        command = [sys.executable, "-m", "benchmarks.context_training", "--measure", how, str(tokens)]
        command += [] if options.threads is None else ["--threads", str(options.threads)]
        command += [] if options.data is None else ["--data", options.data]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row = json.loads(done.stdout.strip().splitlines()[-1])
        print(f"| {NAMES[how]} | {tokens:,} | {row['peak_mb']:,.0f} | {row['rate']:,.0f} |", flush=True)
        rows.append(row)
    return rows


def _write_chart(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = [
        Line(name, [(row["tokens"], row["peak_mb"] / 1_000) for row in rows if row["how"] == how])
        for how, name in (("carry", "in chunks"), ("whole", "whole"))
    ]
    panel = Panel("Peak memory of learning, GB, by tokens of the document", lines)
    styles = {"in chunks": ("#2563a8", ""), "whole": ("#c43c2f", "")}
    write_chart(path, [panel], styles, "Memory of training chunk by chunk and on whole documents")


def measure_memory(how: str, num_tokens: int, data: str | None) -> dict[str, Any]:
    """Learn one document of so many tokens, and watch the process."""
    text = "\n\n".join(str(one.text) for one in documents("moby-dick", "train", data))
    language_model = load_language_model("smollm2", dtype="float32")
    ids = language_model.tokenizer(text[: 6 * num_tokens], add_special_tokens=False)["input_ids"][:num_tokens]
    text = language_model.tokenizer.decode(ids)
    length = 256 if how == "carry" else num_tokens
    config = LanguageConfig(
        num_lanes=1,
        chunk_length=length,
        tokens_per_step=1_024 if how == "carry" else num_tokens,
        carry=CarryConfig(window=1_024) if how == "carry" else CarryConfig(kind="none"),
        optimization=GradientConfig(trainable="lora", lora_rank=16, learning_rate=1e-4),
    )
    learner = LanguageLearner(language_model, config)
    if how == "whole":
        # Plain products keep scores that grow with the square of the length; torch's own attention does not.
        learner.model.set_attn_implementation("sdpa")  # type: ignore[operator]
    watched = _DeviceMemory() if torch.cuda.is_available() else _ProcessMemory()
    start = time.perf_counter()
    pieces = [text[at : at + 16_000] for at in range(0, len(text), 16_000)] if how == "carry" else [text]
    for number, piece in enumerate(pieces):
        fields = {"document": "book", "part": number, "last": number == len(pieces) - 1}
        learner.learn([Example(id=f"book-{number}", text=piece, fields=fields)])
    learner.settle()
    seconds = time.perf_counter() - start
    before, peak = watched.stop()
    return {
        "how": how,
        "tokens": learner.num_tokens,
        "peak_mb": (peak - before) / 1e6,
        "whole_mb": peak / 1e6,
        "rate": learner.num_tokens / seconds,
    }


class _ProcessMemory:
    """Watches the memory of this process from now on, in bytes."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self._peak = self._process.memory_info().rss
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> tuple[int, int]:
        """What the process had at first, and the most that it had."""
        self._is_over.set()
        self._thread.join()
        return self._before, self._peak

    def _watch(self) -> None:
        while not self._is_over.wait(0.01):
            self._peak = max(self._peak, self._process.memory_info().rss)


class _DeviceMemory:
    """The same for what torch allocates on the CUDA device."""

    def __init__(self) -> None:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        self._before = torch.cuda.memory_allocated()

    def stop(self) -> tuple[int, int]:
        """What was allocated at first, and the most that was."""
        torch.cuda.synchronize()
        return self._before, torch.cuda.max_memory_allocated()


def _quality(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    learned = [_long_text(domain, "train", int(QUALITY_BYTES * options.scale), options) for domain in DOMAINS]
    tested = [_long_text(domain, "test", int(TESTED_BYTES * options.scale), options) for domain in DOMAINS]
    rows: dict[str, dict[str, float]] = {}
    for trained in (None, "without", "with"):
        learner = _learner("none" if trained == "without" else "attention")
        if trained is not None:
            for example in learned:
                learner.learn([example])
            learner.settle()
        for scored in ("without", "with"):
            scorer = _with_carry(learner, "none" if scored == "without" else "attention")
            name = f"{'not trained' if trained is None else f'trained {trained} context'}, scored {scored}"
            rows[name] = {
                str(one.domain): bits_per_byte(one.nats, one.bytes) or 0.0 for one in scorer.score(tested)
            }
            print(name, {domain: round(bits, 4) for domain, bits in rows[name].items()}, flush=True)
    print(f"\n| | {' | '.join(DOMAINS)} | mean |\n| --- |{' --- |' * (len(DOMAINS) + 1)}")
    for name, bits in rows.items():
        cells = [f"{bits[domain]:.4f}" for domain in DOMAINS]
        print(f"| {name} | {' | '.join(cells)} | {sum(bits.values()) / len(bits):.4f} |")
    return rows


def _long_text(domain: str, split: str, num_bytes: int, options: argparse.Namespace) -> Example:
    text = "\n\n".join(str(one.text) for one in documents(domain, split, options.data))
    cut = text.encode()[:num_bytes].decode(errors="ignore")
    return Example(id=f"{domain}-{split}", text=cut, domain=domain)


def _learner(kind: str) -> LanguageLearner:
    optimization = GradientConfig(
        trainable="lora", lora_rank=16, lora_alpha=32, learning_rate=5e-4, warmup_steps=10
    )
    carry = CarryConfig(kind=kind, window=1_024)  # type: ignore[arg-type]
    config = LanguageConfig(num_lanes=3, tokens_per_step=768, carry=carry, optimization=optimization)
    return LanguageLearner(load_language_model("smollm2", dtype="float32"), config)


def _with_carry(learner: LanguageLearner, kind: str) -> LanguageLearner:
    """The same weights with another carry."""
    if learner.config.carry.kind == kind:
        return learner
    other = _learner(kind)
    with torch.no_grad():
        for name, weight in other.training.parameters.items():
            weight.copy_(learner.training.parameters[name])
    return other


if __name__ == "__main__":
    main()
