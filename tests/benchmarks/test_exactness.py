"""Deletions, corrections, delays and a guard mixed, in short: what remains is what it alone would give."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.codes_files import read_codes, write_codes
from benchmarks.crashes.streams import made_up_stream
from benchmarks.exactness import Mixture, mixed
from benchmarks.later_targets import with_later_targets

from everlearn.stream import CodesSource

SMALL = {"learner.closed_form.num_features": 64, "learner.closed_form.gram_bits": 10}


@pytest.fixture
def codes(tmp_path: Path) -> Path:
    """Examples that all have a target, each once."""
    stream = made_up_stream(tmp_path / "all.parquet", 300, seed=1)
    examples = {one.id: one for one in read_codes(stream.path) if one.target is not None}
    path = tmp_path / "codes.parquet"
    write_codes(path, list(examples.values()), CodesSource(stream.path))
    return path


def test_the_fingerprint_is_that_of_what_remains(tmp_path: Path, codes: Path) -> None:
    mixtures = [Mixture(2, 30, 25), Mixture(4, 10, 15, has_guard=True)]
    assert mixed(codes, tmp_path, mixtures, learner=SMALL)


def test_later_targets_leave_the_truth_in_the_end(codes: Path) -> None:
    examples = read_codes(codes)
    records = with_later_targets(examples, seed=3)
    assert len(records) > len(examples)
    assert any(one.target is None for one in records)
    in_the_end = {one.id: one.target for one in records}
    assert in_the_end == {one.id: one.target for one in examples}
