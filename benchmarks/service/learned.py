"""Runs and hubs that are served, learned once in a folder and kept there."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

from benchmarks.datasets import Row, load_rows
from everlearn import Example, Hub, Run

__all__ = ["examples_of", "hub_at", "run_at", "shuffled"]


def shuffled(name: str, split: str = "train") -> list[Row]:
    """A set's rows in a fixed order of chance."""
    rows = load_rows(name, split)
    random.Random(0).shuffle(rows)
    return rows


def examples_of(rows: list[Row], prefix: str = "") -> list[Example]:
    """Rows as examples."""
    return [Example(id=f"{prefix}{row.id}", text=row.text, target=row.label) for row in rows]


def run_at(folder: Path, name: str, num_examples: int, settings: dict[str, Any] | None = None) -> Path:
    """A run that has learned the beginning of a set; a copy of it for this part."""
    kept, copy = folder / f"{name}-{num_examples}" / "desk", folder / "served" / "desk"
    if not kept.exists():
        batch = 256
        rows = examples_of(shuffled(name)[:num_examples])
        with Run.open(kept, {"run.keep_text": True, **(settings or {})}) as run:
            for start in range(0, len(rows), batch):
                run.learn(rows[start : start + batch])
            run.save()
    shutil.rmtree(copy.parent, ignore_errors=True)
    return Path(shutil.copytree(kept, copy))


def hub_at(folder: Path, num_tenants: int, num_examples: int, num_labels: int) -> Path:
    """A hub whose tenants have learned so many examples each, of labels of their own choice."""
    kept = folder / f"hub-{num_tenants}-{num_examples}"
    if kept.exists():
        return kept
    rows = shuffled("clinc150")
    labels = sorted({row.label for row in rows})
    with Hub.open(kept) as hub:
        for number in range(num_tenants):
            chosen = set(random.Random(number).sample(labels, num_labels))
            own = [row for row in rows if row.label in chosen][:num_examples]
            hub.add(f"t{number:04d}")
            hub.learn(f"t{number:04d}", examples_of(own))
    return kept
