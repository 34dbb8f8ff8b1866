"""Pairs in which each English word has one German word, in the same order."""

from __future__ import annotations

import random

from everlearn.types import Example

WORDS = {
    "a": "ein", "the": "der", "man": "mann", "woman": "frau", "dog": "hund", "cat": "katze",
    "house": "haus", "ball": "ball", "runs": "rennt", "sees": "sieht", "has": "hat", "red": "rot",
    "big": "gross", "small": "klein", "two": "zwei",
}  # fmt: skip


def word_pairs(count: int, seed: int = 0, domain: str | None = None, longest: int = 6) -> list[Example]:
    generator = random.Random(seed)
    examples = []
    for number in range(count):
        words = generator.choices(list(WORDS), k=generator.randint(1, longest))
        target = " ".join(WORDS[word] for word in words)
        examples.append(Example(id=f"{seed}-{number}", text=" ".join(words), target=target, domain=domain))
    return examples


def batches(count: int, size: int = 6, seed: int = 0) -> list[list[Example]]:
    return [word_pairs(size, seed=1_000 * seed + number) for number in range(count)]
