"""``forget --where``: every field is found by the name it had, and every value by what the file held."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.runtime.text_runs import learn, write_jsonl
from tests.runtime.word_pairs import write_encoder

from everlearn.errors import ConfigError
from everlearn.journal.database import Database
from everlearn.journal.journal import Journal
from everlearn.journal.records import Arrival, Change, NewStep
from everlearn.journal.rows.selection import Condition, select_where
from everlearn.label_set import written_set
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.deletion.matching import offsets_where
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.types import Example

RECORDS: list[dict[str, Any]] = [
    {"key": "m0", "body": "w1 w2 left0", "kind": "a", "customer": "c0", "at": "2026-01-01", "vip": True},
    {"key": "m1", "body": "w3 w4 left1", "kind": "b", "customer": "c1", "at": "2026-01-02", "vip": False},
    {"key": "m2", "body": "w5 w6 left0", "kind": "a", "customer": "c1", "at": "2026-01-03", "score": 1},
    {"key": "m3", "body": "w7 w8 left1", "kind": "b", "customer": "c0", "at": "2026-01-04", "score": 1.0},
    {"key": "m4", "body": "w9 w1 left0", "kind": "a", "customer": "c2", "at": "2026-01-05", "score": "1"},
    {"key": "m5", "body": "w2 w9 left1", "kind": "b", "customer": "c2", "at": "2026-01-06", "score": None},
]
SETTINGS = {
    "learner.closed_form.num_features": 64,
    "learner.closed_form.gram_bits": 10,
    "stream.text_field": "body",
    "stream.id_field": "key",
    "stream.target_field": "kind",
    "stream.domain_field": "customer",
    "stream.time_field": "at",
    "run.threads": 1,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose files had names of their own for everything; the second file other ones."""
    folder = tmp_path_factory.mktemp("where")
    model = {"model.name": str(write_encoder(folder / "encoder"))}
    learn(write_jsonl(folder / "first.jsonl", RECORDS), folder / "run", SETTINGS | model)
    other = [{"key": "n0", "body": "w1 w1", "kind": "a", "client": "c7", "at": "x", "vip": "TRUE"}]
    learn(write_jsonl(folder / "second.jsonl", other), folder / "run", {"stream.domain_field": "client"})
    return folder / "run"


def chosen(run: Path, *where: tuple[str, str]) -> list[str]:
    with RunFolder.open_to_read(run) as folder:
        return [
            str(folder.journal.database.one("SELECT id FROM examples WHERE offset = ?", (offset,))[0])
            for offset in offsets_where(folder, where)
        ]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ([("customer", "c1")], ["m1", "m2"]),
        ([("domain", "c1")], ["m1", "m2"]),
        ([("client", "c7")], ["n0"]),
        ([("customer", "c0"), ("kind", "b")], ["m3"]),
        ([("label", "b"), ("target", "b")], ["m1", "m3", "m5"]),
        ([("key", "m4")], ["m4"]),
        ([("id", "m4")], ["m4"]),
        ([("at", "2026-01-03")], ["m2"]),
        ([("time", "2026-01-03")], ["m2"]),
        ([("vip", "True")], ["m0", "n0"]),
        ([("vip", "true")], ["m0", "n0"]),
        ([("vip", "FALSE")], ["m1"]),
        ([("score", "1")], ["m2", "m3", "m4"]),
        ([("score", "1.0")], ["m2", "m3"]),
        ([("score", "1e0")], ["m2", "m3"]),
        ([("score", "null")], ["m5"]),
        ([("score", "2")], []),
        ([("customer", "nobody")], []),
    ],
)
def test_names_of_file_and_program_and_typed_values(
    run: Path, where: list[tuple[str, str]], expected: list[str]
) -> None:
    assert chosen(run, *where) == expected


def test_an_unknown_field_is_an_error_that_lists_the_known_ones(run: Path) -> None:
    for where in ([("costumer", "c1")], [("customer", "c1"), ("vipp", "true")]):
        with pytest.raises(ConfigError, match=f"no record of .* has a field '{where[-1][0]}'") as caught:
            forget_in_run(run, where=where)
        known = str(caught.value).partition("Known are ")[2]
        assert set(known.split(", ")) == {
            "id", "target", "domain", "time", "kind", "key", "customer", "client", "at", "score", "vip"
        }  # fmt: skip
    with pytest.raises(ConfigError, match="cannot be chosen by their text"):
        forget_in_run(run, where=[("body", "w1 w2 left0")])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_of_tables_too(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table.{suffix}"
    if suffix == "csv":
        path.write_text("id,text,label,score,vip\n7,w1 w2,a,1,True\n8,w3 w4,b,2,False\n")
    else:
        table = {"id": [7, 8], "text": ["w1 w2", "w3 w4"], "label": ["a", "b"], "score": [1.0, 2.0]}
        pq.write_table(pa.table({**table, "vip": [True, False]}), path)
    model = {"model.name": str(write_encoder(tmp_path / "encoder"))}
    learn(path, tmp_path / "run", {"learner.closed_form.num_features": 64, "run.threads": 1} | model)
    for where in (("id", "7"), ("score", "1"), ("vip", "true"), ("vip", "True"), ("label", "a")):
        assert chosen(tmp_path / "run", where) == ["7"], where
    assert forget_in_run(tmp_path / "run", where=[("score", "2")]).num_forgotten == 1


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.floats(allow_nan=True, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from(["true", "True", "1", "1.0", "null", "[1]", "007"]),
    st.lists(st.integers(0, 3), max_size=2),
)
NAMES = st.one_of(
    st.sampled_from(["a", "b c", 'q"x', "back\\slash", "d.e", "$", "[0]", "é"]),
    st.text(min_size=1, max_size=3),
)


def journal_in_memory() -> Journal:
    database = Database(Path("memory"), sqlite3.connect(":memory:", isolation_level=None))
    database._prepare_to_write()
    return Journal(database)


@example([{"a": None}], "\0", "null")
@example([{'a"': 1, "b\\": 2}], 'a"', "1")
@given(
    st.lists(st.dictionaries(NAMES, VALUES, max_size=3), min_size=1, max_size=5),
    NAMES,
    st.one_of(VALUES.map(json.dumps), st.text(max_size=5), st.sampled_from(["True", "1", "1.0", "null"])),
)
def test_sqlite_leaves_out_nothing_that_matches(records: list[dict[str, Any]], name: str, value: str) -> None:
    # Names with half a surrogate pair never come this far.
    with journal_in_memory() as journal:
        arrivals = [
            Arrival(Example(id=f"m{k}", text="t", target="a", domain=value, fields=one))
            for k, one in enumerate(records)
        ]
        journal.append(NewStep(arrivals=arrivals, learned=(1, len(arrivals))), keep_text=False)
        for column in (None, "domain"):
            condition = Condition(name, value, column)
            expected = [
                k
                for k, one in enumerate(records, start=1)
                if (condition.equals(one[name]) if name in one else column is not None)
            ]
            assert select_where(journal, [condition]) == expected


def test_the_present_target_counts(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "journal.sqlite") as journal:
        arrivals = [Arrival(Example(id=f"m{k}", text="t", target="a")) for k in range(3)]
        journal.append(NewStep(arrivals=arrivals, learned=(1, 3)), keep_text=False)
        journal.append(NewStep(changes=[Change(2, "correction", "a", "b")]), keep_text=False)
        assert select_where(journal, [Condition("target", "a", "target")]) == [1, 3]
        assert select_where(journal, [Condition("label", "b", "target")]) == [2]


def test_a_set_is_chosen_by_each_of_its_labels(tmp_path: Path) -> None:
    targets = [["joy"], ["anger", "joy"], ["joyful"], [], ['a"b', "é"]]
    with Journal.create(tmp_path / "journal.sqlite") as journal:
        arrivals = [
            Arrival(Example(id=f"m{k}", text="t", target=written_set(one))) for k, one in enumerate(targets)
        ]
        journal.append(NewStep(arrivals=arrivals, learned=(1, len(arrivals))), keep_text=False)
        changed = Change(1, "correction", written_set(["joy"]), written_set(["é"]))
        journal.append(NewStep(changes=[changed]), keep_text=False)

        def chosen_by(value: str, *, in_sets: bool = True) -> list[int]:
            return select_where(journal, [Condition("label", value, "target", in_sets)])

        assert chosen_by("joy") == [2]
        assert chosen_by("é") == [1, 5]
        assert chosen_by('a"b') == [5]
        assert chosen_by('["anger","joy"]') == [2]
        assert chosen_by("[]") == [4]
        assert chosen_by("jo") == []
        assert chosen_by("joy", in_sets=False) == []
