"""What a growing vocabulary saves and what it does to bits per byte: SmolLM2 on Song poetry.

Run: ``python -m benchmarks.vocabulary [--data DIR] [--bytes N] [--chart FILE.svg]``

Two models read N bytes of the training part once, poem by poem in random order, and learn the same LoRA
adapters with the same optimizer and as many steps a byte. One keeps its vocabulary. The other
watches the first part of the stream, which it learns in the old tokens, then adds words; from there on their
rows are trained beside the adapters, at first alone. Both are scored on the same poems of the test part.

``--validation`` scores on training poems that are far behind the stream instead: settings are chosen with it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.datasets import data_folder
from benchmarks.environment import environment_line
from benchmarks.line_chart import Line, Panel, Style, write_chart
from everlearn.models.added_rows import AddedRows
from everlearn.models.language.causal import load_language_model
from everlearn.models.vocabulary import VocabularyWatch, grow, propose
from everlearn.models.vocabulary.alignment import align_rows
from everlearn.models.vocabulary.calibration import calibrate_rows

__all__ = ["main"]

SET = "lm_song_poetry_zh"
ROW = 256  # tokens of a row
NOT_PREDICTED = -100
STYLES: dict[str, Style] = {"fixed": ("#8a8a8a", "4 3"), "growing": ("#2563a8", "")}
"""Of the chart's lines."""


@dataclass(eq=False)
class Course:
    """How one arm went.

    Attributes:
        name: In words.
        bits_per_byte: By bytes seen.
        num_tokens: Tokens that were run forward and backward.
        seconds: Of everything but scoring.
        test_tokens: Tokens of the scored poems with the last tokenizer.
        growth: What was added, if anything.
    """

    name: str
    bits_per_byte: dict[int, float] = field(default_factory=dict)
    num_tokens: int = 0
    seconds: float = 0.0
    test_tokens: int = 0
    growth: dict[str, Any] = field(default_factory=dict)


class Arm:
    """A model with its tokenizer, trained by a loop of its own.

    Args:
        options: The command line.
        name: Of the course.
    """

    def __init__(self, options: argparse.Namespace, name: str) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        loaded = load_language_model("smollm2", dtype="float32")
        self.device = next(loaded.model.parameters()).device
        self.step_bytes = options.step_bytes
        self.tokenizer = loaded.tokenizer
        self.separator = loaded.tokenizer.bos_token_id
        self.course = Course(name)
        torch.manual_seed(options.seed)
        lora = LoraConfig(
            r=16, lora_alpha=32, target_modules="all-linear", exclude_modules=["lm_head"], lora_dropout=0.0
        )
        loaded.model.requires_grad_(False)
        self.model: Any = inject_adapter_in_model(lora, loaded.model)
        for name_, parameter in self.model.named_parameters():
            parameter.requires_grad_("lora_" in name_)
        self.adapters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups = [{"params": self.adapters, "lr": options.learning_rate}]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.0)

    def rows(self, poems: Sequence[str], width: int | None = ROW) -> Tensor:
        """Poems back to back, int64 (rows, width + 1); a row's last token is the next one's first.

        Without a width all are one row.
        """
        ids = [self.separator]
        for poem in poems:
            ids += [*self.tokenizer.encode(poem, add_special_tokens=False), self.separator]
        width = width or len(ids) - 1
        rows = [ids[start : start + width + 1] for start in range(0, len(ids) - 1, width)]
        rows[-1] += [NOT_PREDICTED] * (width + 1 - len(rows[-1]))
        return torch.tensor(rows, device=self.device)

    def loss(self, rows: Tensor) -> tuple[Tensor, int]:
        """Summed cross-entropy in nats, and the number of predicted tokens."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            logits = self.model(input_ids=rows[:, :-1].clamp(min=0), use_cache=False).logits
        labels = rows[:, 1:].flatten()
        nats = functional.cross_entropy(
            logits.flatten(0, 1).float(), labels, ignore_index=NOT_PREDICTED, reduction="sum"
        )
        return nats, int((labels != NOT_PREDICTED).sum())

    def learn(self, poems: Sequence[str]) -> None:
        """Learn some poems once."""
        started = time.perf_counter()
        for step in by_bytes(poems, self.step_bytes):
            # Equal bytes, not equal tokens, make a step: both arms have as many.
            nats, count = self.loss(self.rows(step, width=None))
            self.optimizer.zero_grad()
            (nats / count).backward()  # type: ignore[no-untyped-call]
            for group in self.optimizer.param_groups:
                torch.nn.utils.clip_grad_norm_([p for p in group["params"] if p.grad is not None], 1.0)
            self.optimizer.step()
            self.course.num_tokens += count
        self.course.seconds += time.perf_counter() - started

    @torch.no_grad()
    def score(self, poems: Sequence[str], num_bytes_seen: int) -> None:
        """Bits per byte of some poems, noted in the course."""
        total, num_tokens = 0.0, 0
        for rows in torch.split(self.rows(poems), 4):
            nats, count = self.loss(rows)
            total += nats.item()
            num_tokens += count
        num_bytes = sum(len(poem.encode()) for poem in poems)
        self.course.bits_per_byte[num_bytes_seen] = total / math.log(2) / num_bytes
        self.course.test_tokens = num_tokens
        figures = {"arm": self.course.name, "bytes": num_bytes_seen, "tokens": self.course.num_tokens}
        figures["seconds"] = round(self.course.seconds)
        print(json.dumps({**figures, "bits_per_byte": round(total / math.log(2) / num_bytes, 4)}), flush=True)

    def grow(self, watched: Sequence[str], options: argparse.Namespace) -> None:
        """Add words that are frequent in the watched poems, and train their rows on these."""
        started = time.perf_counter()
        watch = VocabularyWatch(self.tokenizer)
        for poem in watched:
            watch.update(poem)
        words = propose(watch, options.words, options.min_count)
        growth = grow(self.model, self.tokenizer, words)
        self.tokenizer = growth.tokenizer
        rows = self.rows(watched)
        added = AddedRows(self.model, growth.first_row)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            texts = [row[row != NOT_PREDICTED] for row in rows]
            align_rows(self.model, added, growth.pieces, texts, num_passes=options.row_passes)
            added.merge()
            calibrate_rows(self.model, growth.first_row, rows[:, :-1].clamp(min=0), rows[:, 1:])
        added = AddedRows(self.model, growth.first_row)
        self.fit_rows(added, rows, options)
        self.optimizer.add_param_group({"params": added.parameters, "lr": options.row_learning_rate})
        fertility = watch.fertility[""]
        self.course.growth = {"words": len(growth.words), "rows": growth.num_rows}
        self.course.growth["tokens_per_word_before"] = round(fertility.tokens_per_word, 3)
        self.course.seconds += time.perf_counter() - started
        print(json.dumps({"arm": self.course.name, **self.course.growth}), flush=True)

    def fit_rows(self, added: AddedRows, rows: Tensor, options: argparse.Namespace) -> None:
        """Let the new rows alone learn to be predicted, in passes over the watched text."""
        optimizer = torch.optim.AdamW(added.parameters, lr=options.row_learning_rate, weight_decay=0.0)
        for _ in range(options.row_epochs):
            for some in torch.split(rows, 2):
                nats, count = self.loss(some)
                gradients = torch.autograd.grad(nats / count, added.parameters)
                for parameter, gradient in zip(added.parameters, gradients, strict=True):
                    parameter.grad = gradient
                optimizer.step()
                self.course.num_tokens += count


def by_bytes(poems: Sequence[str], num_bytes: int) -> Iterator[list[str]]:
    """Consecutive poems that together have at least so many bytes; the last may have fewer."""
    some: list[str] = []
    for poem in poems:
        some.append(poem)
        if sum(len(one.encode()) for one in some) >= num_bytes:
            yield some
            some = []
    if some:
        yield some


def read_poems(split: str, data: str | None) -> list[str]:
    """All poems of a part, each with the empty line that ends it."""
    with gzip.open(data_folder(data) / SET / f"{split}.txt.gz", "rt", encoding="utf-8") as file:
        return [poem + "\n\n" for poem in file.read().split("\n\n") if poem.strip()]


def take(poems: Sequence[str], num_bytes: int) -> list[str]:
    """The first poems, so many bytes of them."""
    return next(by_bytes(poems, num_bytes))


def run(options: argparse.Namespace, grows: bool, stream: Sequence[str], scored: Sequence[str]) -> Course:
    """One arm from beginning to end."""
    arm = Arm(options, "growing" if grows else "fixed")
    arm.score(scored, 0)
    watched = take(stream, options.watched)
    seen = 0
    for part in (watched, *by_bytes(stream[len(watched) :], options.every)):
        arm.learn(part)
        seen += sum(len(poem.encode()) for poem in part)
        if part is watched and grows:
            arm.grow(watched, options)
        arm.score(scored, seen)
    return arm.course


def main() -> None:
    """Run both arms, print the table, draw the chart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--bytes", type=int, default=300_000, help="of the stream that are learned")
    parser.add_argument("--watched", type=int, default=40_000, help="bytes before the growth")
    parser.add_argument("--every", type=int, default=65_000, help="bytes between two scores")
    parser.add_argument(
        "--step-bytes", type=int, default=400, help="bytes of an optimizer's step, in either arm"
    )
    parser.add_argument("--scored", type=int, default=40_000, help="bytes that are scored")
    parser.add_argument("--words", type=int, default=250, help="words that are added at most")
    parser.add_argument("--min-count", type=int, default=5, help="times that a word must have come")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="of the adapters")
    parser.add_argument("--row-learning-rate", type=float, default=2e-3, help="of the new rows")
    parser.add_argument("--row-passes", type=int, default=2, help="over what was watched, new rows only")
    parser.add_argument(
        "--row-epochs", type=int, default=1, help="over it that teach new rows to be predicted"
    )
    parser.add_argument("--out", type=Path, help="write the courses here (JSON)")
    parser.add_argument("--arms", nargs="+", choices=("fixed", "growing"), default=["fixed", "growing"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validation", action="store_true", help="score on training poems behind the stream")
    parser.add_argument("--chart", type=Path, help="draw the courses into this SVG file")
    options = parser.parse_args()
    print(environment_line(), flush=True)
    training = read_poems("train", options.data)
    random.Random(options.seed).shuffle(training)  # poems lie author by author in the file
    stream = take(training, options.bytes)
    others = training[: len(training) // 2 : -1] if options.validation else read_poems("test", options.data)
    random.Random(options.seed).shuffle(others)
    scored = take(others, options.scored)
    courses = [run(options, arm == "growing", stream, scored) for arm in options.arms]
    num_bytes = sum(len(poem.encode()) for poem in scored)
    points = list(courses[0].bits_per_byte)
    print(
        "| vocabulary | tokens a byte | tokens learned | seconds | "
        + " | ".join(f"bits per byte after {point:,}" for point in points)
        + " |\n|---|---|---|---|"
        + "---|" * len(points)
    )
    for course in courses:
        figures = " | ".join(f"{course.bits_per_byte[point]:.3f}" for point in points)
        print(
            f"| {course.name} | {course.test_tokens / num_bytes:.3f} | {course.num_tokens:,} "
            f"| {course.seconds:,.0f} | {figures} |"
        )
    if options.out is not None:
        options.out.write_text(json.dumps([vars(course) for course in courses], indent=1))
    if options.chart:
        draw(options.chart, {course.name: course.bits_per_byte for course in courses})


def draw(path: Path, courses: Mapping[str, Mapping[int, float]]) -> None:
    """Bits per byte by bytes seen, a line an arm."""
    lines = [Line(name, list(course.items())) for name, course in courses.items()]
    panel = Panel("Bits per byte of held-back poems, by bytes learned", lines)
    write_chart(path, [panel], STYLES, "What a growing vocabulary does to bits per byte")


if __name__ == "__main__":
    main()
