"""Codes with structure, made without a model: classes are directions, words follow classes."""

from __future__ import annotations

import numpy as np

from everlearn.types import Code, Example

DENSE_SIZE = 40


def make_examples(num: int, *, num_classes: int = 5, seed: int = 0, noise: float = 0.8) -> list[Example]:
    """Examples with codes; labels c0, c1, …; ids e0, e1, …."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(num_classes, DENSE_SIZE))
    examples = []
    for k in range(num):
        label = int(rng.integers(num_classes))
        vector = centres[label] + noise * rng.normal(size=DENSE_SIZE)
        dense = np.clip(np.rint(20 * vector), -127, 127).astype(np.int8)
        words = {int(w) for w in rng.integers(0, 30, size=4)} | {1000 + label * 7 + int(rng.integers(3))}
        ids = np.array(sorted(words), dtype=np.uint32) * np.uint32(2654435761 % 2**32)
        ids = np.sort(ids)
        values = rng.integers(40, 200, size=len(ids)).astype(np.uint8)
        examples.append(Example(id=f"e{k}", target=f"c{label}", code=Code(dense, ids, values)))
    return examples
