"""The protocol that every peer follows: one pass over the stream, then the official test part.

The order of the stream is that of ``everlearn.stream.order.arrange``, written out again because the
peers' environment has no everlearn; a test holds the two equal.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from benchmarks.datasets import Row, load_rows
from benchmarks.environment import package_versions

__all__ = [
    "Order",
    "Peer",
    "Stream",
    "add_arguments",
    "arrange",
    "limit_threads",
    "load_stream",
    "measure",
    "print_result",
]

Order = Literal["by-class", "shuffled"]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What a peer gets: experiences to learn one after another, and the test part.

    Attributes:
        dataset: Name of the data set.
        order: "by-class" (classes come one group after another) or "shuffled".
        experiences: Rows in the order in which they are learned.
        test: The official test part.
        labels: All labels by name, for peers that must be told them beforehand.
    """

    dataset: str
    order: Order
    experiences: tuple[tuple[Row, ...], ...]
    test: tuple[Row, ...]
    labels: tuple[str, ...]


class Peer(Protocol):
    """A classifier that learns from a stream."""

    name: str

    def learn(self, rows: Sequence[Row]) -> None:
        """Learn one batch."""
        ...

    def predict(self, texts: Sequence[str]) -> list[str | None]:
        """One label a text, or None while none is known."""
        ...


def arrange(rows: Sequence[Row], order: Order, num_experiences: int, seed: int) -> list[tuple[Row, ...]]:
    """Put a training part into the order of the stream.

    Args:
        rows: The training part in the file's order.
        order: "by-class": labels sorted by name, shuffled by the seed, dealt into groups of near-equal
            number, rows shuffled inside each group; "shuffled": one experience of all rows.
        num_experiences: Number of groups for "by-class"; at most one a label.
        seed: Of the one generator that does all shuffling.
    """
    generator = random.Random(seed)
    if order == "shuffled":
        shuffled = list(rows)
        generator.shuffle(shuffled)
        return [tuple(shuffled)]
    labels = sorted({row.label for row in rows})
    generator.shuffle(labels)
    num_groups = min(num_experiences, len(labels))
    bounds = [len(labels) * part // num_groups for part in range(num_groups + 1)]
    experiences = []
    for begin, end in itertools.pairwise(bounds):
        group = set(labels[begin:end])
        members = [row for row in rows if row.label in group]
        generator.shuffle(members)
        experiences.append(tuple(members))
    return experiences


def add_arguments(parser: argparse.ArgumentParser, models: Sequence[str]) -> None:
    """Add the options that all peers share; ``--model`` picks one of ``models``."""
    parser.add_argument("--model", choices=models, default=models[0], help="which of the peer's learners")
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--dataset", default="clinc150", help="name of the data set (default: clinc150)")
    parser.add_argument("--order", choices=("by-class", "shuffled"), default="by-class")
    parser.add_argument("--experiences", type=int, default=10, help="groups of classes (default: 10)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="learn this many examples of the stream at most")
    parser.add_argument("--test-part", default="test", help="split to test on (settings are chosen on val)")
    parser.add_argument("--threads", type=int, default=1, help="threads of numerical libraries (default: 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON line")


def load_stream(arguments: argparse.Namespace) -> Stream:
    """Load and order what the options ask for.

    Raises:
        DatasetNotFoundError: The data set is not there.
    """
    train = load_rows(arguments.dataset, "train", arguments.data)
    test = load_rows(arguments.dataset, arguments.test_part, arguments.data)
    experiences = arrange(train, arguments.order, arguments.experiences, arguments.seed)
    if arguments.limit is not None:
        experiences = _first_examples(experiences, arguments.limit)
    return Stream(
        dataset=arguments.dataset,
        order=arguments.order,
        experiences=tuple(experiences),
        test=tuple(test),
        labels=tuple(sorted({row.label for row in train})),
    )


def measure(
    peer: Peer,
    stream: Stream,
    *,
    batch_size: int,
    prequential: bool,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Run the protocol.

    Args:
        peer: A fresh classifier.
        stream: What to learn and to be tested on.
        batch_size: Rows a call of ``learn``; batches do not cross experiences.
        prequential: Whether each batch is predicted before it is learned; its time counts.
        progress: Called with the number of rows learned after each batch.

    Returns:
        ``test_accuracy`` and ``prequential_accuracy`` (fractions; None where not measured),
        ``examples``, ``seconds`` (the pass), ``cpu_seconds`` (of it, all threads), ``examples_per_second``
        and ``test_seconds``.
    """
    correct = 0
    learned = 0
    start, cpu_start = time.perf_counter(), time.process_time()
    for experience in stream.experiences:
        for first in range(0, len(experience), batch_size):
            batch = experience[first : first + batch_size]
            if prequential:
                correct += _num_correct(peer.predict([row.text for row in batch]), batch)
            peer.learn(batch)
            learned += len(batch)
            if progress is not None:
                progress(learned)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    start = time.perf_counter()
    test_correct = _num_correct(peer.predict([row.text for row in stream.test]), stream.test)
    return {
        "test_accuracy": round(test_correct / len(stream.test), 4),
        "prequential_accuracy": round(correct / learned, 4) if prequential else None,
        "examples": learned,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "examples_per_second": round(learned / seconds, 1),
        "test_seconds": round(time.perf_counter() - start, 3),
    }


def print_result(
    peer: str,
    stream: Stream,
    result: dict[str, Any],
    *,
    settings: dict[str, Any],
    packages: Sequence[str],
    arguments: argparse.Namespace,
) -> None:
    """Print one JSON line (``--json``) or a short sentence."""
    if not arguments.json:
        accuracy = 100 * result["test_accuracy"]
        print(
            f"{peer} on {stream.dataset}, {stream.order}: {accuracy:.1f} % on test, "
            f"{result['examples']} examples in {result['seconds']:.1f} s"
        )
        return
    record = {
        "peer": peer,
        "dataset": stream.dataset,
        "order": stream.order,
        "seed": arguments.seed,
        "threads": arguments.threads,
        **result,
        "settings": settings,
        "versions": package_versions(packages),
    }
    if arguments.test_part != "test":
        record["test_part"] = arguments.test_part
    print(json.dumps(record))


def limit_threads(num_threads: int) -> None:
    """Limit torch and the BLAS libraries that are loaded already."""
    import threadpoolctl
    import torch

    torch.set_num_threads(num_threads)
    threadpoolctl.threadpool_limits(num_threads)


def _first_examples(experiences: Sequence[tuple[Row, ...]], limit: int) -> list[tuple[Row, ...]]:
    kept = []
    for experience in experiences:
        if limit <= 0:
            break
        kept.append(experience[:limit])
        limit -= len(experience)
    return kept


def _num_correct(predictions: Sequence[str | None], rows: Sequence[Row]) -> int:
    return sum(label == row.label for label, row in zip(predictions, rows, strict=True))
