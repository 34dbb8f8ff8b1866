"""Codes with structure whose targets are sets: each label is a direction, an example the sum of some."""

from __future__ import annotations

import numpy as np

from everlearn.label_set import written_set
from everlearn.types import Code, Example

DENSE_SIZE = 40


def make_sets(num: int, *, num_labels: int = 5, seed: int = 0, noise: float = 0.5) -> list[Example]:
    """Examples with codes; labels l0, l1, …, none to all of them; ids e0, e1, ….

    The last label is rare. Every seventh target of one label is written as that label.
    """
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(num_labels, DENSE_SIZE))
    likely = np.full(num_labels, 0.35)
    likely[-1] = 0.05
    examples = []
    for k in range(num):
        has = rng.random(num_labels) < likely
        vector = has @ directions + noise * rng.normal(size=DENSE_SIZE)
        dense = np.clip(np.rint(20 * vector), -127, 127).astype(np.int8)
        labels = [f"l{one}" for one in np.flatnonzero(has)]
        target = labels[0] if len(labels) == 1 and k % 7 == 0 else written_set(labels)
        ids, values = np.zeros(0, np.uint32), np.zeros(0, np.uint8)
        examples.append(Example(id=f"e{k}", target=target, code=Code(dense, ids, values)))
    return examples
