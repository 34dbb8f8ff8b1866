"""Multi30k as pairs, with the captions of two topics held out of what a model is first trained on.

The held-out captions are the new domains: half a model's life later, they arrive as a stream.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
from dataclasses import dataclass

from benchmarks.datasets import split_path
from everlearn.types import Example

__all__ = ["FIRST_DOMAIN", "TOPICS", "Corpus", "read_corpus", "read_pairs", "topic_of"]

DATASET = "multi30k_en_de"
FIRST_DOMAIN = "captions"

TOPICS = {
    "sport": re.compile(
        r"\b(?:(?:foot|base|basket|volley|soft)balls?|soccer|hockey|tennis|rugby|cricket|gymnasts?|wrestl\w+"
        r"|karate|skateboard\w*|surf\w*|ski(?:s|ing|ers?)?|snowboard\w*|athletes?|referees?|racquet\w*|golf\w*"
        r"|racing|race|teams?|players?|pitchers?)\b"
    ),
    "dogs": re.compile(
        r"\b(?:dogs?|pupp(?:y|ies)|poodles?|retrievers?|greyhounds?|terriers?|collies?|canines?|hounds?"
        r"|labradors?|shepherds?|bulldogs?)\b"
    ),
}
"""Words of the English side that make a caption one of a topic, lower-cased; the first that fits."""

# Of a topic's training captions, one in so many is for choosing settings.
_DEVELOPMENT_SHARE = 4


@dataclass(frozen=True, slots=True)
class Corpus:
    """What the benchmark reads.

    Attributes:
        initial: Training pairs of no topic: what the model is first trained on, and what replay draws from.
        validation: The validation split without the topics: for the first training and for settings.
        development: Streams of training pairs by topic that settings are chosen on.
        streams: The streams that are reported: other training pairs of the topics, and the two later
            test sets.
        first_test: test_2016_flickr without the topics: what must not be forgotten.
        first_test_all: test_2016_flickr.
    """

    initial: list[Example]
    validation: list[Example]
    development: list[Example]
    streams: dict[str, list[Example]]
    first_test: list[Example]
    first_test_all: list[Example]


def topic_of(source: str) -> str | None:
    """The topic of a caption, or None."""
    lower = source.lower()
    return next((topic for topic, words in TOPICS.items() if words.search(lower)), None)


def read_pairs(
    split: str, domain: str | None = None, data: str | os.PathLike[str] | None = None
) -> list[Example]:
    """All pairs of one split, in order.

    Raises:
        DatasetNotFoundError: There is no such file.
    """
    examples = []
    with gzip.open(split_path(DATASET, split, data), "rb") as file:
        for number, line in enumerate(file, start=1):
            record = json.loads(line)
            examples.append(
                Example(id=f"{split}:{number}", text=record["source"], target=record["target"], domain=domain)
            )
    return examples


def read_corpus(data: str | os.PathLike[str] | None = None, seed: int = 0) -> Corpus:
    """Read and divide Multi30k; the same for the same seed.

    Raises:
        DatasetNotFoundError: A file is not there.
    """
    initial: list[Example] = []
    by_topic: dict[str, list[Example]] = {topic: [] for topic in TOPICS}
    for example in read_pairs("train", data=data):
        topic = topic_of(example.text or "")
        if topic is None:
            initial.append(_in_domain(example, FIRST_DOMAIN))
        else:
            by_topic[topic].append(_in_domain(example, topic))
    generator = random.Random(seed)
    development: list[Example] = []
    topics: list[Example] = []
    for topic in TOPICS:
        pairs = by_topic[topic]
        generator.shuffle(pairs)
        cut = len(pairs) // _DEVELOPMENT_SHARE
        development += pairs[:cut]
        topics += pairs[cut:]
    test = read_pairs("test", FIRST_DOMAIN, data)
    return Corpus(
        initial=initial,
        validation=_without_topics(read_pairs("val", FIRST_DOMAIN, data)),
        development=development,
        streams={
            "topics": topics,
            "mscoco": read_pairs("test_2017_mscoco", "mscoco", data),
            "flickr_2017": read_pairs("test_2017_flickr", "flickr_2017", data),
        },
        first_test=_without_topics(test),
        first_test_all=test,
    )


def _in_domain(example: Example, domain: str) -> Example:
    return Example(id=example.id, text=example.text, target=example.target, domain=domain)


def _without_topics(examples: list[Example]) -> list[Example]:
    return [example for example in examples if topic_of(example.text or "") is None]
