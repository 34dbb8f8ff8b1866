from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.errors import StateError
from everlearn.runtime import codes_store
from everlearn.runtime.codes_store import CodesStore, example_matcher
from everlearn.runtime.run_record import LearnerRecord
from everlearn.types import Example

RECORD = LearnerRecord(kind="closed-form", coder_fingerprint="coder-1", coder_config={}, dense_size=24)


def make_store(folder: Path, keep_text: bool = False) -> CodesStore:
    (folder / "codes").mkdir(parents=True, exist_ok=True)
    return CodesStore(folder, [], RECORD, keep_text=keep_text)


def ids_of(store: CodesStore) -> list[str]:
    return [example.id for batch in store.scan() for example in batch]


def test_examples_come_back_with_their_codes(tmp_path: Path, clustered: Callable[..., list[Example]]) -> None:
    examples = clustered(40)
    store = make_store(tmp_path)
    store.append(examples)
    store.append([Example(id="without-target", code=examples[0].code)])
    parts = store.flush()
    assert sum(part.examples for part in parts) == 40
    read = [example for batch in store.scan() for example in batch]
    assert [(one.id, one.target, one.code, one.fields) for one in read] == [
        (one.id, one.target, one.code, one.fields) for one in examples
    ]
    assert all(example.text is None for example in read)


def test_texts_are_kept_when_asked(tmp_path: Path, clustered: Callable[..., list[Example]]) -> None:
    store = make_store(tmp_path, keep_text=True)
    store.append(clustered(3))
    store.flush()
    assert [example.text for batch in store.scan() for example in batch] == ["text 0", "text 1", "text 2"]


def test_parts_are_rolled_and_small_ones_merged(
    tmp_path: Path, clustered: Callable[..., list[Example]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codes_store, "EXAMPLES_PER_PART", 80)
    monkeypatch.setattr(codes_store, "_BUFFERED_EXAMPLES", 7)
    store = make_store(tmp_path)
    examples = clustered(200)
    store.append(examples[:150])
    assert [part.examples for part in store.flush()] == [80, 70]
    for start in range(150, 200, 5):
        store.append(examples[start : start + 5])
        parts = store.flush()
    assert len(parts) < 8
    assert sorted(ids_of(store)) == sorted(example.id for example in examples)
    assert store.num_examples == 200


@settings(max_examples=20, deadline=None)
@given(dropped=st.sets(st.integers(0, 59)))
def test_dropping_leaves_exactly_the_others(
    tmp_path_factory: pytest.TempPathFactory,
    clustered: Callable[..., list[Example]],
    dropped: set[int],
) -> None:
    examples = clustered(60)
    store = make_store(tmp_path_factory.mktemp("store"))
    for start in (0, 25):
        store.append(examples[start : start + 35] if start else examples[:25])
        store.flush()
    selection = store.select(
        example_matcher([f"message-{k}" for k in dropped], []) if dropped else lambda _: False
    )
    read = [example for batch in store.read_selected(selection) for example in batch]
    assert {example.id for example in read} == {f"message-{k}" for k in dropped}
    assert all(example.code == examples[int(example.id.split("-")[1])].code for example in read)
    store.drop(selection)
    assert set(ids_of(store)) == {example.id for example in examples} - {example.id for example in read}


@pytest.mark.parametrize(
    ("ids", "where", "expected"),
    [
        (["x"], [], True),
        (["y"], [], False),
        ([], [("target", "refund")], True),
        ([], [("label", "refund"), ("domain", "web")], True),
        ([], [("label", "refund"), ("domain", "app")], False),
        ([], [("customer", "7")], True),
        ([], [("vip", "true")], True),
        ([], [("nothing", "None")], False),
        (["x"], [("customer", "8")], False),
    ],
)
def test_matcher(ids: list[str], where: list[tuple[str, str]], expected: bool) -> None:
    row = {
        "id": "x",
        "target": "refund",
        "domain": "web",
        "time": None,
        "fields": {"customer": 7, "vip": True},
    }
    assert example_matcher(ids, where)(row) is expected


def test_a_damaged_part_is_named(tmp_path: Path, clustered: Callable[..., list[Example]]) -> None:
    store = make_store(tmp_path)
    store.append(clustered(5))
    (part,) = store.flush()
    path = tmp_path / part.file
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StateError, match=r"part-00001\.parquet is damaged"):
        list(store.scan())
    path.unlink()
    with pytest.raises(StateError, match=r"part-00001\.parquet is missing"):
        store.select(lambda _: True)
