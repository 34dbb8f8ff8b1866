"""How many texts a second River's adapter predicts and learns, one by one.

Run: ``python -m benchmarks.adapters [--data DIR] [--set NAME] [--first N] [--rounds N]``

The first N training texts of a set, each predicted, then learned, on one thread, with the default encoder,
which is loaded before. Beside it, in turns, the encoder alone over the same texts, one by one: the least that
any learner on it takes. Where the machine has other work, seconds of the processor and the ratio tell more
than those of the clock. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from benchmarks.datasets import Row, load_rows
from benchmarks.environment import environment_line
from everlearn.integrations.encoders import DEFAULT_ENCODER, shared_coder
from everlearn.integrations.river import ClosedFormClassifier
from everlearn.types import Example

__all__ = ["main"]

_MAX_LENGTH = 256


def adapter(rows: Sequence[Row]) -> float:
    """Accuracy in %, each text predicted before it is learned."""
    model = ClosedFormClassifier(max_length=_MAX_LENGTH)
    num_right = 0
    for row in rows:
        num_right += model.predict_one(row.text) == row.label
        model.learn_one(row.text, row.label)
    return 100 * num_right / len(rows)


def encoder(rows: Sequence[Row]) -> float:
    """The encoder alone."""
    coder = shared_coder(DEFAULT_ENCODER, _MAX_LENGTH)
    for row in rows:
        coder.encode_examples([Example(id=row.id, text=row.text)])
    return 0.0


def timed(action: Callable[[Sequence[Row]], float], rows: Sequence[Row]) -> tuple[float, float, float]:
    """Texts a second by the clock and by the processor, and the action's result; no code is known before."""
    shared_coder(DEFAULT_ENCODER, _MAX_LENGTH).clear()
    clock, processor = time.perf_counter(), time.process_time()
    result = action(rows)
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    return len(rows) / clock, len(rows) / processor, result


def main() -> None:
    """Run all and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--set", default="banking77")
    parser.add_argument("--first", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(environment_line(), flush=True)
    rows = load_rows(options.set, "train", options.data)[: options.first]
    for action in (encoder, adapter):  # what is made once a process
        timed(action, rows[:20])
    alone, learned = [], []
    for _ in range(options.rounds):
        alone.append(timed(encoder, rows))
        learned.append(timed(adapter, rows))
    figures = {
        "set": options.set,
        "texts": len(rows),
        "labels": len({row.label for row in rows}),
        "texts_a_second": round(statistics.median(run[0] for run in learned), 1),
        "best_texts_a_second": round(max(run[0] for run in learned), 1),
        "texts_a_processor_second": round(statistics.median(run[1] for run in learned), 1),
        "encoder_alone_a_processor_second": round(statistics.median(run[1] for run in alone), 1),
        "share_of_encoder": round(
            statistics.median(one[1] / two[1] for one, two in zip(learned, alone, strict=True)), 3
        ),
        "accuracy": round(learned[-1][2], 2),
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
