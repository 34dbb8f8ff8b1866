"""What tenants of a test's hub learn, and what is compared of their predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tests.models.test_adapter_bank import adapter_of
from tests.runtime.word_pairs import write_encoder

from everlearn.models.encoder.load import load_trunk
from everlearn.models.storage.adapters import write_adapter
from everlearn.types import Example, Prediction

LABELS = ("bill", "card", "loan")
WORDS = [f"w{k}" for k in range(20)]


def hub_settings(folder: Path) -> dict[str, Any]:
    """Settings of a small hub, whose encoder is written into the folder."""
    return {
        "model.name": str(write_encoder(folder / "encoder")),
        "model.batch_invariant": True,
        "learner.closed_form.num_features": 64,
        "learner.closed_form.gram_bits": 10,
    }


def some(tenant: str, first: int, count: int) -> list[Example]:
    """So many examples of a tenant's, from one number on."""
    return [
        Example(
            id=f"{tenant}-{k}",
            text=f"{WORDS[(7 * k + len(tenant)) % 20]} {WORDS[3 * k % 20]} {tenant}",
            target=LABELS[(k + ord(tenant[-1])) % 3],
        )
        for k in range(first, first + count)
    ]


def same(one: Prediction, other: Prediction) -> bool:
    """Whether two predictions are equal to the bit."""
    return (
        one.label == other.label
        and one.labels == other.labels
        and np.array_equal(one.probabilities, other.probabilities)
        and one.outlier_score == other.outlier_score
        and one.is_outlier == other.is_outlier
    )


def write_own_adapter(
    folder: Path, options: dict[str, Any], *, seed: int, rank: int, targets: tuple[str, ...]
) -> Path:
    """An adapter of the options' encoder with made-up numbers."""
    trunk = load_trunk(options["model.name"], dtype="float32", device="cpu")
    folder.mkdir()
    write_adapter(folder, adapter_of(trunk, seed, rank, list(targets)), "encoder")
    return folder
