from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.errors import StateError
from everlearn.runtime.id_registry import IdRegistry


@given(batches=st.lists(st.lists(st.text(max_size=3), max_size=6), max_size=6))
def test_claim_says_what_is_new_as_a_set_would(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[str]]
) -> None:
    registry = IdRegistry(tmp_path_factory.mktemp("ids") / "ids.sqlite", 0)
    seen: set[str] = set()
    for batch in batches:
        expected = []
        for one in batch:
            expected.append(one not in seen)
            seen.add(one)
        assert registry.claim(batch) == expected
    assert registry.count() == len(seen)
    registry.close()


def test_what_was_not_committed_is_gone(tmp_path: Path) -> None:
    registry = IdRegistry(tmp_path / "ids.sqlite", 0)
    registry.claim(["a"])
    registry.commit(1)
    registry.claim(["b"])
    registry.close()
    again = IdRegistry(tmp_path / "ids.sqlite", 1)
    assert again.known(["a", "b"]) == [True, False]
    again.close()


def test_a_commit_ahead_of_the_run_is_undone(tmp_path: Path) -> None:
    registry = IdRegistry(tmp_path / "ids.sqlite", 0)
    registry.claim(["a", "b"])
    registry.commit(1)
    registry.claim(["c"])
    registry.remove(["a"])
    registry.commit(2)
    registry.close()
    again = IdRegistry(tmp_path / "ids.sqlite", 1)
    assert again.known(["a", "b", "c"]) == [True, True, False]
    again.close()


def test_removed_ids_are_erased_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "ids.sqlite"
    registry = IdRegistry(path, 0)
    registry.claim([f"person-{number}@example.org" for number in range(50)])
    registry.commit(1)
    registry.remove(["person-7@example.org"])
    registry.commit(2)
    registry.purge()
    registry.close()
    assert b"person-7@example.org" not in path.read_bytes()
    assert b"person-8@example.org" in path.read_bytes()
    again = IdRegistry(path, 2)
    assert again.claim(["person-7@example.org"]) == [True]
    again.close()


def test_adding_another_registry_names_shared_ids(tmp_path: Path) -> None:
    for name, ids in (("one", ["a", "b"]), ("two", ["c"]), ("three", ["b", "d"])):
        registry = IdRegistry(tmp_path / name, 0)
        registry.claim(ids)
        registry.commit(1)
        registry.close()
    merged = IdRegistry(tmp_path / "merged", 0)
    assert merged.add_all_of(tmp_path / "one") == []
    assert merged.add_all_of(tmp_path / "two") == []
    assert merged.add_all_of(tmp_path / "three") == ["b"]
    assert merged.known(["a", "b", "c", "d"]) == [True, True, True, False]
    merged.close()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ids.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StateError, match=r"ids\.sqlite is damaged"):
        IdRegistry(path, 0)
