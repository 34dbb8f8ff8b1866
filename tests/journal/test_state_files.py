"""JSON of any size beside tensors: what a header has no room for is read back all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from everlearn.journal.checkpoints import CheckpointStore
from everlearn.journal.journal import Journal
from everlearn.journal.state_files import read_state_file, write_state_file
from everlearn.types import State


@pytest.mark.parametrize("length", [0, 10, (16 << 20) - 3, 16 << 20])
def test_json_comes_back_beside_the_tensors(tmp_path: Path, length: int) -> None:
    data = {"t": "x" * length} if length <= 10 else "ü" * (length // 2)
    tensors = {"a.b": torch.arange(6, dtype=torch.int64).reshape(2, 3).T}
    write_state_file(tmp_path / "file", "the key", data, tensors)
    read, found = read_state_file(tmp_path / "file", "the key")
    assert read == data
    assert list(found) == ["a.b"]
    assert torch.equal(found["a.b"], tensors["a.b"])


def test_a_checkpoint_with_more_json_than_a_header_holds_is_read_again(tmp_path: Path) -> None:
    # Each quote takes four bytes in a header, which must not exceed 100 MB.
    text = '"' * 26_000_000
    journal = Journal.create(tmp_path / "journal.sqlite")
    (tmp_path / "checkpoints").mkdir()
    store = CheckpointStore(tmp_path / "checkpoints", journal)
    record = store.save(State({"w": torch.ones(2)}, {"text": text}), {}, step=0)
    loaded = store.load(record.file)
    journal.close()
    assert loaded.learner.data["text"] == text
    assert list(loaded.learner.tensors) == ["w"]
