"""A translator that goes on learning after its first training, on text that this did not cover.

Run: ``OMP_NUM_THREADS=1 python -m benchmarks.translation --cache DIR [--data DIR] [--chart FILE.svg]
[--develop]``

A small encoder-decoder is trained on Multi30k (English to German) without the captions about sport and
dogs, once, into the folder of --cache. Then it lives on streams: the captions about sport, then dogs, that
were held out; and the test sets of 2017, of which one is of other images. Each batch of 16 is translated
before its targets are learned, and BLEU and chrF are those of these translations. test_2016_flickr says what
was forgotten.

Settings were chosen with --develop, which runs on a part of the held-out training captions and on the
validation split instead: the highest prequential BLEU among those whose validation loss rose by less than
0.01 nats a token (BLEU is too coarse to tell them apart).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.environment import environment_line
from benchmarks.line_chart import Line, Panel, Style, write_chart
from benchmarks.translation.base_model import BaseSettings, base_model
from benchmarks.translation.data import Corpus, read_corpus
from benchmarks.translation.streams import Kept, Outcome, Way, run_way
from everlearn.types import Example

__all__ = ["main"]

FROZEN = Way(name="frozen", learns=False)
ALL = Way(name="all, replay and distillation")
REPLAY = replace(ALL, name="all, replay", distillation=0.0)
PLAIN = replace(ALL, name="all, nothing else", num_replayed=0)
PARTS = [
    replace(ALL, name=f"{part}, replay and distillation", trainable=part)
    for part in ("decoder", "encoder", "embeddings")
]
WAYS = {
    "topics": [FROZEN, ALL, PLAIN, REPLAY, *PARTS],
    "mscoco": [FROZEN, ALL, PLAIN],
    "flickr_2017": [FROZEN, ALL, PLAIN],
}
CHARTED: dict[str, Style] = {
    FROZEN.name: ("#8a8a8a", "4 3"),
    ALL.name: ("#2563a8", ""),
    PLAIN.name: ("#c43c2f", "6 2"),
}
"""The ways that are drawn, with their lines."""
DEVELOPED = [
    FROZEN,
    *(
        replace(ALL, name=f"rate {rate:g}, distillation {weight:g}", learning_rate=rate, distillation=weight)
        for rate, weight in (
            *((5e-5, 0.0), (1e-4, 0.0), (2e-4, 0.0)),
            *((1e-4, 4.0), (2e-4, 4.0), (3e-4, 2.0)),
        )
    ),
    replace(ALL, name="rate 0.0003, anchor 0.01", learning_rate=3e-4, distillation=0.0, anchor=0.01),
    replace(
        ALL, name="embeddings, rate 0.0003", trainable="embeddings", learning_rate=3e-4, distillation=0.0
    ),
]


def main() -> None:
    """Train or load the model, then run every way of living on every stream."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--cache", type=Path, required=True, help="folder that the first model is kept in")
    parser.add_argument("--develop", action="store_true", help="the runs that settings were chosen by")
    parser.add_argument("--only", nargs="+", choices=tuple(WAYS), default=tuple(WAYS), help="streams")
    parser.add_argument("--chart", type=Path, help="draw BLEU by quarter of each stream into this SVG file")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # Read when the first product is computed. Sentences come in more shapes than the cache holds by default.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "10000")
    print(environment_line(), flush=True)
    corpus = read_corpus(options.data)
    base_model(options.cache, corpus.initial, corpus.validation, BaseSettings(), _say)
    if options.develop:
        validation = {"validation": corpus.validation}
        _table(options.cache, corpus, "development", corpus.development, DEVELOPED, validation)
        return
    tests = {"2016 without topics": corpus.first_test, "2016": corpus.first_test_all}
    quarters = {
        name: _table(options.cache, corpus, name, corpus.streams[name], WAYS[name], tests)
        for name in options.only
    }
    if options.chart is not None:
        draw_quarters(options.chart, quarters)


def draw_quarters(path: Path, quarters: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """A panel a stream: BLEU of each quarter, a line for each way of living on it that is charted."""
    panels = [
        Panel(
            f"BLEU by quarter of the stream: {stream}",
            [Line(way, list(enumerate(ways[way]))) for way in CHARTED if way in ways],
            ticks=["first", "second", "third", "last"],
        )
        for stream, ways in quarters.items()
    ]
    write_chart(path, panels, CHARTED, "BLEU of translations made before their targets were learned")


def _table(
    folder: Path,
    corpus: Corpus,
    name: str,
    stream: list[Example],
    ways: list[Way],
    tests: dict[str, list[Example]],
) -> dict[str, Sequence[float]]:
    """Run every way on a stream and print a row for each; returns BLEU by quarter of each way."""
    quarters: dict[str, Sequence[float]] = {}
    _say(f"\n{name}: {len(stream)} sentences, in batches of {ways[0].batch_size}; BLEU / chrF (nats a token)")
    head = ["", "prequential", *tests, "quarters (BLEU)", "by domain", "sentences/s", "predict s", "learn s"]
    _say("| " + " | ".join(head) + " |")
    _say("| --- " * len(head) + "|")
    for way in ways:
        outcome, kept = run_way(folder, corpus, stream, way, tests)
        quarters[way.name] = outcome.quarters
        _say("| " + " | ".join([way.name, *_cells(outcome, kept)]) + " |")
    return quarters


def _cells(outcome: Outcome, kept: dict[str, Kept]) -> list[str]:
    return [
        str(outcome.prequential),
        *(str(score) for score in kept.values()),
        ", ".join(f"{bleu:.1f}" for bleu in outcome.quarters),
        ", ".join(f"{domain} {score.bleu:.2f}" for domain, score in outcome.by_domain.items()),
        f"{outcome.sentences_per_second:.0f}",
        f"{outcome.predict_seconds:.0f}",
        f"{outcome.learn_seconds:.0f}",
    ]


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
