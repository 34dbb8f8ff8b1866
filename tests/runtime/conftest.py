"""Small streams with codes of random clusters, so that no model has to be loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from everlearn.journal.digest import content_digest
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.stream.files.codes import CodesWriter
from everlearn.tasks.records import RunStatus
from everlearn.types import Code, Example

NUM_LABELS = 5
DENSE_SIZE = 24
SMALL = {"learner.closed_form.num_features": 64, "learner.closed_form.gram_bits": 10, "stream.batch_size": 32}

WriteCodes = Callable[..., Path]


def clustered_examples(count: int, *, start: int = 0, seed: int = 0) -> list[Example]:
    """Examples of NUM_LABELS clusters, the same for the same arguments."""
    centers = np.random.default_rng(99).normal(size=(NUM_LABELS, DENSE_SIZE)) * 40
    generator = np.random.default_rng(seed + 1_000 * start)
    examples = []
    for number in range(start, start + count):
        label = int(generator.integers(NUM_LABELS))
        dense = np.clip(np.rint(centers[label] + generator.normal(size=DENSE_SIZE) * 20), -127, 127)
        grams = np.unique(generator.integers(0, 2**20, size=4)).astype(np.uint32)
        code = Code(dense.astype(np.int8), grams, np.full(len(grams), 100, np.uint8))
        examples.append(
            Example(
                id=f"message-{number}",
                text=f"text {number}",
                target=f"label{label}",
                domain=f"domain{number % 3}",
                time=f"2026-01-{1 + number % 28:02}",
                code=code,
                fields={"customer": f"c{number % 7}", "urgent": number % 2 == 0},
            )
        )
    return examples


def write_codes_file(path: Path, examples: Sequence[Example], fingerprint: str = "coder-1") -> Path:
    """A codes file of these examples."""
    with CodesWriter(
        path, coder_fingerprint=fingerprint, coder_config={"kind": "test"}, dense_size=DENSE_SIZE
    ) as writer:
        writer.write(examples)
    return path


@pytest.fixture
def write_codes(tmp_path: Path) -> WriteCodes:
    """Writes a codes file into the test's folder."""

    def write(name: str, examples: Sequence[Example], fingerprint: str = "coder-1") -> Path:
        return write_codes_file(tmp_path / name, examples, fingerprint)

    return write


def status_of(run: Path) -> RunStatus:
    """What the newest checkpoint of a run keeps beside the learner's state."""
    with RunFolder.open_to_read(run) as folder:
        return RunStatus.model_validate(folder.newest_checkpoint().run)


def digest_of(run: Path) -> str:
    """Everything that the journal of a run says."""
    with RunFolder.open_to_read(run) as folder:
        return content_digest(folder.journal)


@pytest.fixture
def small() -> dict[str, object]:
    """Settings of a small learner."""
    return dict(SMALL)


@pytest.fixture(scope="session")
def clustered() -> Callable[..., list[Example]]:
    """Makes examples."""
    return clustered_examples
