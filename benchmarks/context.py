"""What carried context is worth to a language model that reads long texts in chunks, without learning.

Run: ``python -m benchmarks.context [--texts N] [--tokens N] [--stream-tokens N] [--out FILE] [--chart FILE]``

SmolLM2-135M-Instruct in bfloat16 reads two texts each of Moby-Dick and Shakespeare (from their test parts)
and of presidential speeches (the two longest; every tenth piece is missing) in chunks of 256 tokens: without
carry, with the attention cache of the last 256 to 2,048 tokens and the first four, without those four, and
whole. A stream of Moby-Dick that is longer than the model was trained for shows whether the loss stays. In
float32, logits of chunks with an unbounded cache are compared with those of the text at once. Results go to
``--out`` as they come; a benchmark that was interrupted goes on with them. What carried context does for
training, and its memory, is ``benchmarks.context_training``.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.datasets import split_path
from benchmarks.environment import environment_line
from benchmarks.line_chart import Line, Panel, Style, write_chart
from benchmarks.long_texts import first_tokens, plain_text
from benchmarks.reading import CHUNK, IntArray, Losses, SavedLosses, losses, read
from everlearn.context import CarryConfig
from everlearn.models.language.causal import LanguageModel, load_language_model

__all__ = ["main"]

BLOCK = 1_000
STREAM_BLOCK = 5_000
CHECKED_TOKENS = 2_000
NO_CARRY, WHOLE, STREAMED = "no carry", "whole text at once", "window 1,024"
SETTINGS: dict[str, CarryConfig] = {
    NO_CARRY: CarryConfig(kind="none"),
    "window 1,024 without sinks": CarryConfig(sinks=0, window=1_024),
    **{f"window {window:,}": CarryConfig(sinks=4, window=window) for window in (256, 512, 1_024, 2_048)},
    "window 1,024, 64 sinks": CarryConfig(sinks=64, window=1_024),
    WHOLE: CarryConfig(window=None),
}
CHARTED = (NO_CARRY, "window 256", STREAMED, WHOLE)

STYLES: dict[str, Style] = {
    "no carry": ("#8a8a8a", "4 3"),
    "window 256": ("#c98a1b", ""),
    "window 1,024": ("#2563a8", ""),
    "whole text at once": ("#2c8a4b", "6 2"),
}
"""Of the chart's lines."""


def main() -> None:
    """Measure what is not there yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--texts", type=int, default=2, help="texts of each kind")
    parser.add_argument("--tokens", type=int, default=8_000, help="tokens of each text")
    parser.add_argument("--stream-tokens", type=int, default=50_000, help="tokens of the stream; 0: none")
    parser.add_argument("--out", type=Path, default=Path("context.json"), help="results, to go on with")
    parser.add_argument("--chart", type=Path, help="draw the courses into this SVG file")
    options = parser.parse_args()
    print(environment_line(), flush=True)
    saved = SavedLosses(options.out, options.tokens)
    loaded = load_language_model("smollm2", dtype="bfloat16", device="cpu")
    texts = dict(_texts(loaded, options.data, options.texts, options.tokens))
    for name, ids in texts.items():
        for setting, config in SETTINGS.items():
            saved.measure(f"{name}: {setting}", partial(losses, loaded, ids, config))
    if options.stream_tokens:
        ids = first_tokens(loaded, plain_text("lm_moby_dick", "train", options.data), options.stream_tokens)
        for setting in (NO_CARRY, STREAMED):
            key = f"stream of {len(ids):,}: {setting}"
            saved.measure(key, partial(losses, loaded, ids, SETTINGS[setting]))
    checked = next(iter(texts.values()))[:CHECKED_TOKENS]
    saved.measure(f"check of {len(checked):,}", lambda: np.array([_difference(checked)]))
    print(_table(saved, list(texts)))
    if options.stream_tokens:
        print(_stream_table(saved, options.stream_tokens))
    difference = saved.losses[f"check of {len(checked):,}"][0]
    print(
        f"Largest difference of a logit in float32, chunks with all of the cache against {len(checked):,} "
        f"tokens at once: {difference:.1e}"
    )
    if options.chart is not None:
        panels = _panels(saved, list(texts), options.stream_tokens)
        write_chart(
            options.chart, panels, STYLES, "Nats per token of a model that reads in chunks, by tokens read"
        )


def _difference(ids_T: IntArray) -> float:
    loaded = load_language_model("smollm2", dtype="float32", device="cpu")
    head = loaded.model.get_output_embeddings()
    unbounded = CarryConfig(window=None)
    whole, _ = next(read(loaded.model, ids_T, unbounded, len(ids_T)))
    start, largest = 0, 0.0
    with torch.no_grad():
        for states, _ in read(loaded.model, ids_T, unbounded, CHUNK):
            difference = head(states) - head(whole[start : start + len(states)])
            start, largest = start + len(states), max(largest, float(difference.abs().max()))
    return largest


def _texts(
    loaded: LanguageModel, data: str | None, count: int, num_tokens: int
) -> Iterator[tuple[str, IntArray]]:
    for title, name in (("Moby-Dick", "lm_moby_dick"), ("Shakespeare", "lm_shakespeare")):
        text, start = plain_text(name, "test", data), 0
        for number in range(1, count + 1):
            ids = first_tokens(loaded, text[start:], num_tokens)
            # Where the next text begins need not be exact: about four characters a token.
            start += 4 * num_tokens
            yield f"{title} {number}", ids
    speeches: dict[str, list[str]] = {}
    with gzip.open(split_path("lm_presidential_dated", "train", data), "rt", encoding="utf-8") as file:
        for record in map(json.loads, file):
            speeches.setdefault(f"{record['domain']} {record['date']}", []).append(record["text"])
    joined = sorted((" ".join(pieces) for pieces in speeches.values()), key=len, reverse=True)
    for number, text in enumerate(joined[:count], start=1):
        yield f"Speech {number}", first_tokens(loaded, text, num_tokens)


def _table(saved: SavedLosses, texts: Sequence[str]) -> str:
    kinds = list(dict.fromkeys(name.rsplit(" ", 1)[0] for name in texts))
    rows = [
        f"| nats per token | {' | '.join(kinds)} | mean | share of the gap |",
        f"|---|{'---|' * (len(kinds) + 2)}",
    ]
    found = {setting: _means(saved, texts, kinds, setting) for setting in SETTINGS}
    without, whole = found[NO_CARRY][-1], found[WHOLE][-1]
    for setting, means in found.items():
        share = (without - means[-1]) / (without - whole)
        rows.append(f"| {setting} | {' | '.join(f'{mean:.3f}' for mean in means)} | {share:.0%} |")
    return "\n".join(rows)


def _means(saved: SavedLosses, texts: Sequence[str], kinds: Sequence[str], setting: str) -> list[float]:
    """The mean of each kind's texts, and that of the kinds."""
    means = [
        float(np.mean([saved.losses[f"{name}: {setting}"].mean() for name in texts if name.startswith(kind)]))
        for kind in kinds
    ]
    return [*means, float(np.mean(means))]


def _blocks(losses_T: Losses, size: int) -> list[float]:
    return [float(losses_T[start : start + size].mean()) for start in range(0, len(losses_T), size)]


def _stream_table(saved: SavedLosses, num_tokens: int) -> str:
    courses = {
        setting: _blocks(saved.losses[f"stream of {num_tokens:,}: {setting}"], STREAM_BLOCK)
        for setting in (NO_CARRY, STREAMED)
    }
    heads = [f"{STREAM_BLOCK * (place + 1):,}" for place in range(len(courses[NO_CARRY]))]
    rows = [f"| nats per token up to | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    rows += [f"| {name} | {' | '.join(f'{mean:.3f}' for mean in means)} |" for name, means in courses.items()]
    return "\n".join(rows)


def _panels(saved: SavedLosses, texts: Sequence[str], stream_tokens: int) -> list[Panel]:
    lines = []
    for setting in CHARTED:
        means = np.mean([_blocks(saved.losses[f"{name}: {setting}"], BLOCK) for name in texts], axis=0)
        lines.append(Line(setting, [(BLOCK * (place + 1), float(mean)) for place, mean in enumerate(means)]))
    panels = [Panel(f"{len(texts)} texts: nats per token in the last {BLOCK:,} tokens", lines)]
    if stream_tokens:
        lines = []
        for setting in (NO_CARRY, STREAMED):
            means = _blocks(saved.losses[f"stream of {stream_tokens:,}: {setting}"], STREAM_BLOCK)
            points = [(STREAM_BLOCK * (place + 1), mean) for place, mean in enumerate(means)]
            lines.append(Line(setting, points))
        title = f"one stream of {stream_tokens:,} tokens: in the last {STREAM_BLOCK:,}"
        panels.append(Panel(title, lines, mark=8_192, mark_name="trained length"))
    return panels


if __name__ == "__main__":
    main()
