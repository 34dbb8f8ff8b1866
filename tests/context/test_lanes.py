from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.context import NO_LABEL, LaneChunk, Lanes, TokenRun
from everlearn.errors import ConfigError, StateError
from everlearn.types import State


def run_of(
    example_id: str, document: str, ids: list[int], *, starts: bool = True, ends: bool = True
) -> TokenRun:
    array = np.array(ids, np.int32)
    return TokenRun(
        example_id=example_id,
        document=document,
        ids=array,
        is_target=array % 3 != 0,
        num_bytes=array % 5,
        domain=f"of {example_id}",
        starts_document=starts,
        ends_document=ends,
    )


@dataclass(frozen=True)
class Action:
    """Append to a document, or take what is there."""

    document: str = ""
    length: int = 0
    starts: bool = False
    ends: bool = False
    take: bool = False
    flush: bool = False


appends = st.builds(
    Action,
    document=st.sampled_from("abcd"),
    length=st.integers(0, 14),
    starts=st.booleans(),
    ends=st.booleans(),
)
takes = st.builds(Action, take=st.just(True), flush=st.booleans())
actions = st.lists(st.one_of(appends, appends, takes), max_size=40)
sizes = st.tuples(st.integers(1, 4), st.integers(1, 6), st.booleans())


@dataclass
class Feed:
    """Makes runs of tokens that are all different, and knows what they belong to."""

    next_token: int = 1
    next_example: int = 0
    owner: dict[int, str] = field(default_factory=dict)
    before: dict[int, int] = field(default_factory=dict)
    open_documents: dict[str, int] = field(default_factory=dict)

    def run(self, action: Action) -> TokenRun:
        ids = list(range(self.next_token, self.next_token + action.length))
        self.next_token += action.length
        example = str(self.next_example)
        self.next_example += 1
        last = None if action.starts else self.open_documents.get(action.document)
        for token in ids:
            self.owner[token] = example
            if last is not None:
                self.before[token] = last
            last = token
        self.open_documents.pop(action.document, None)
        if not action.ends and last is not None:
            self.open_documents[action.document] = last
        return run_of(example, action.document, ids, starts=action.starts, ends=action.ends)


def slots_of(chunks: list[LaneChunk]) -> set[tuple[int, int, int]]:
    """Token, label and position of all slots; documents may come in another order."""
    found = set()
    for chunk in chunks:
        real = chunk.document >= 0
        columns = (chunk.ids[real], chunk.labels[real], chunk.position[real])
        found |= set(zip(*(column.tolist() for column in columns), strict=True))
    return found


def same(left: LaneChunk | None, right: LaneChunk | None) -> bool:
    if left is None or right is None:
        return left is right
    names = ("lanes", "ids", "labels", "is_target", "num_bytes", "document", "position")
    arrays = all(np.array_equal(getattr(left, name), getattr(right, name)) for name in names)
    return arrays and left.spans == right.spans


def through_json(state: State) -> State:
    return State(state.tensors, json.loads(json.dumps(state.data)))


def chunks_of(lanes: Lanes, flush: bool = True, max_tokens: int = 24) -> list[LaneChunk]:
    found = []
    while (chunk := lanes.take(max_tokens, flush)) is not None:
        found.append(chunk)
    return found


def check_chunk(chunk: LaneChunk, feed: Feed, position: dict[int, int], length: int, alone: bool) -> None:
    assert list(chunk.lanes) == sorted(set(chunk.lanes.tolist()))
    assert chunk.ids.size <= 24
    assert chunk.ids.shape[1] <= length
    owners = np.full(chunk.labels.shape, "", dtype=object)
    for span in chunk.spans:
        assert span.start < span.stop
        assert not owners[span.row, span.start : span.stop].any()
        owners[span.row, span.start : span.stop] = span.example_id
        assert span.domain == f"of {span.example_id}"
    for row in range(len(chunk.lanes)):
        real = chunk.document[row] >= 0
        assert np.array_equal(real, np.sort(real)[::-1])
        assert np.array_equal(real, chunk.labels[row] != NO_LABEL)
        assert len(set(chunk.document[row][real].tolist())) == 1 or not alone
        for slot in np.flatnonzero(real):
            label, number = int(chunk.labels[row, slot]), int(chunk.document[row, slot])
            assert chunk.ids[row, slot] == feed.before[label]
            assert owners[row, slot] == feed.owner[label]
            assert chunk.is_target[row, slot] == (label % 3 != 0)
            assert chunk.num_bytes[row, slot] == label % 5
            assert chunk.position[row, slot] == position.get(number, 0)
            position[number] = position.get(number, 0) + 1
        assert not owners[row, ~real].any()


@settings(max_examples=80, deadline=None)
@given(actions, sizes)
def test_every_label_comes_once_and_in_order(plan: list[Action], size: tuple[int, int, bool]) -> None:
    num_lanes, length, alone = size
    lanes, feed = Lanes(num_lanes, length, one_document_per_row=alone), Feed()
    position: dict[int, int] = {}
    labels: list[int] = []
    lane_of: dict[int, set[int]] = defaultdict(set)

    def take(flush: bool) -> LaneChunk | None:
        full, pending = lanes.num_full, lanes.num_pending
        chunk = lanes.take(24, flush)
        if chunk is None:
            assert (pending if flush else full) == 0
            return None
        check_chunk(chunk, feed, position, length, alone)
        assert lanes.num_pending == pending - chunk.num_labels
        if not flush and not alone:
            assert chunk.num_labels == chunk.ids.size == len(chunk.lanes) * length
            assert lanes.num_full == full - chunk.num_labels
        for row, lane in enumerate(chunk.lanes.tolist()):
            for number in set(chunk.document[row].tolist()) - {-1}:
                lane_of[number].add(lane)
        labels.extend(chunk.labels[chunk.labels != NO_LABEL].tolist())
        return chunk

    for action in plan:
        if action.take:
            take(action.flush)
        else:
            lanes.add(feed.run(action))
    copy = Lanes(num_lanes, length, one_document_per_row=alone)
    copy.restore(through_json(lanes.state()))
    rest = feed.run(Action("a", 5, ends=True))
    lanes.add(rest)
    copy.add(rest)
    while (chunk := take(flush=True)) is not None:
        assert same(chunk, copy.take(24, flush=True))
    assert copy.take(24, flush=True) is None
    assert lanes.num_pending == 0
    # Each token that follows another one of its document is the label of exactly one slot.
    assert sorted(labels) == sorted(feed.before)
    assert all(len(used) == 1 for used in lane_of.values())


@settings(max_examples=80, deadline=None)
@given(actions, sizes, st.sets(st.integers(0, 30)), st.integers(0, 40))
def test_forgotten_examples_are_gone(
    plan: list[Action], size: tuple[int, int, bool], chosen: set[int], moment: int
) -> None:
    num_lanes, length, alone = size
    lanes, feed = Lanes(num_lanes, length, one_document_per_row=alone), Feed()
    forgotten = {str(index) for index in chosen}
    seen: dict[int, set[str]] = {lane: set() for lane in range(num_lanes)}
    context: dict[int, int] = {}
    for action in plan[:moment]:
        if not action.take:
            lanes.add(feed.run(action))
        elif (chunk := lanes.take(24, action.flush)) is not None:
            for row, lane in enumerate(chunk.lanes.tolist()):
                for slot in np.flatnonzero(chunk.document[row] >= 0):
                    if context.get(lane) != chunk.document[row, slot]:
                        seen[lane], context[lane] = set(), int(chunk.document[row, slot])
                    for token in (chunk.ids[row, slot], chunk.labels[row, slot]):
                        seen[lane].add(feed.owner[int(token)])
    assert lanes.lanes_of(forgotten) == [lane for lane in range(num_lanes) if seen[lane] & forgotten]
    gone = set(lanes.lanes_of(forgotten))
    lanes.forget(forgotten)
    assert lanes.lanes_of(forgotten) == []
    copy = Lanes(num_lanes, length, one_document_per_row=alone)
    copy.restore(through_json(lanes.state()))
    chunks = chunks_of(lanes)
    assert all(same(one, other) for one, other in zip(chunks, chunks_of(copy), strict=True))
    for chunk in chunks:
        real = chunk.document >= 0
        assert not {feed.owner[int(token)] for token in chunk.ids[real]} & forgotten
        assert not {feed.owner[int(token)] for token in chunk.labels[real]} & forgotten
        for row, lane in enumerate(chunk.lanes.tolist()):
            assert lane not in gone or chunk.document[row, 0] != context[lane]


@settings(max_examples=80, deadline=None)
@given(st.lists(appends, max_size=30), st.sets(st.integers(0, 30)), st.integers(1, 6))
def test_forgetting_what_only_waits_equals_never_having_had_it(
    plan: list[Action], chosen: set[int], length: int
) -> None:
    with_all, without, feed = Lanes(1, length), Lanes(1, length), Feed()
    forgotten = {str(index) for index in chosen}
    dropped = 0
    for action in plan:
        run = feed.run(action)
        with_all.add(run)
        kept = run_of(run.example_id, run.document, [], starts=run.starts_document, ends=run.ends_document)
        without.add(kept if run.example_id in forgotten else run)
        dropped += len(run.ids) if run.example_id in forgotten else 0
    assert with_all.forget(forgotten) == dropped
    assert with_all.num_pending == without.num_pending
    assert slots_of(chunks_of(with_all)) == slots_of(chunks_of(without))


def test_open_documents_keep_their_lanes() -> None:
    lanes = Lanes(num_lanes=2, chunk_length=4)
    for part in range(6):
        for name in ("x", "y"):
            lanes.add(run_of(f"{name}{part}", name, [1, 2, 3], starts=part == 0, ends=part == 5))
    chunks = chunks_of(lanes, flush=False)
    assert [chunk.lanes.tolist() for chunk in chunks] == [[0, 1]] * 4
    assert [chunk.document.tolist() for chunk in chunks] == [[[0] * 4, [1] * 4]] * 4
    assert [chunk.position[0].tolist() for chunk in chunks][2] == [8, 9, 10, 11]
    assert lanes.num_pending == 2


def test_lanes_with_most_pending_come_first_and_max_tokens_holds() -> None:
    lanes = Lanes(num_lanes=3, chunk_length=4)
    for name, length in (("a", 6), ("b", 30), ("c", 20)):
        lanes.add(run_of(name, name, list(range(length))))
    chunk = lanes.take(max_tokens=11)
    assert chunk is not None
    assert chunk.lanes.tolist() == [1, 2]
    with pytest.raises(ConfigError, match="at least one row of 4, not 3"):
        lanes.take(3)


def test_damaged_and_foreign_states_are_refused() -> None:
    lanes = Lanes(num_lanes=2, chunk_length=4)
    lanes.add(run_of("a", "a", [1, 2, 3]))
    state = lanes.state()
    with pytest.raises(StateError, match="chunk_length=4, these 5"):
        Lanes(num_lanes=2, chunk_length=5).restore(state)
    with pytest.raises(StateError, match="damaged"):
        lanes.restore(State({**state.tensors, "ids": state.tensors["ids"][:2]}, state.data))
    broken: dict[str, Any] = {name: value for name, value in state.data.items() if name != "next_number"}
    with pytest.raises(StateError, match="damaged"):
        lanes.restore(State(state.tensors, broken))


def test_numbers_are_checked() -> None:
    with pytest.raises(ConfigError, match="num_lanes must be at least 1, not 0"):
        Lanes(num_lanes=0, chunk_length=4)
