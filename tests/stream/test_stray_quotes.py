"""Quotes that were never meant: what is lost is the line they stand in, not what comes behind it."""

from __future__ import annotations

import csv
import io
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from everlearn.stream.open import open_source
from everlearn.stream.source import EndOfStream, Rejection, SourceConfig
from everlearn.types import Example


def read(path: Path, config: SourceConfig | None = None) -> tuple[list[Example], list[Rejection]]:
    """All examples and rejections."""
    reader = open_source(path, config).open()
    examples: list[Example] = []
    rejected: list[Rejection] = []
    try:
        while True:
            examples += reader.next_batch(7)
            rejected += reader.take_rejected()
    except EndOfStream:
        rejected += reader.take_rejected()
    finally:
        reader.close()
    return examples, rejected


def lines_in(reason: str) -> int:
    """Lines that a refused record takes."""
    match = re.search(r"a row of ([\d,]+) lines", reason)
    return 1 if match is None else int(match[1].replace(",", ""))


def lines_of(count: int, bad: dict[int, str], delimiter: str = ",") -> str:
    rows = [f"message number {k} about things{delimiter}{'ab'[k % 2]}" for k in range(count)]
    for place, row in bad.items():
        rows[place] = row
    return "\n".join([f"text{delimiter}label", *rows]) + "\n"


def test_a_quote_that_never_closes_loses_its_line_only(tmp_path: Path) -> None:
    path = tmp_path / "open.csv"
    path.write_text(lines_of(120, {10: '"left open,a'}))
    examples, rejected = read(path)
    assert [one.text for one in examples] == [
        f"message number {k} about things" for k in range(120) if k != 10
    ]
    assert [(one.place, one.reason) for one in rejected] == [
        ("open.csv:12", "a quote is left open: only this line is passed over")
    ]


@pytest.mark.parametrize(
    "closing",
    ['a 5" screen,b', 'another "open,b', '"also open,b', 'ends with one",b', '"well, quoted",b'],
)
def test_two_stray_quotes_do_not_make_one_text_of_all_between(tmp_path: Path, closing: str) -> None:
    path = tmp_path / "two.csv"
    path.write_text(lines_of(120, {10: '"left open,a', 91: closing}))
    examples, rejected = read(path)
    good = {f"message number {k} about things" for k in range(120) if k not in (10, 91)}
    assert good <= {one.text for one in examples}
    assert len(examples) + len(rejected) == 120
    assert max(len(one.text or "") for one in examples) < 60


def test_a_stray_quote_in_tab_separated_text_is_text(tmp_path: Path) -> None:
    path = tmp_path / "open.tsv"
    path.write_text(
        lines_of(120, {10: '"left open\ta', 50: 'a 5" screen\tb', 60: '"all ""quoted"""\tb'}, "\t")
    )
    examples, rejected = read(path)
    assert not rejected
    assert [examples[k].text for k in (10, 50, 60)] == ['"left open', 'a 5" screen', 'all "quoted"']


def test_texts_over_several_lines_stay_one(tmp_path: Path) -> None:
    path = tmp_path / "letters.csv"
    texts = [f'Dear Sir,\nthanks, a\nyours, b, {k}\n\n"Me", a' for k in range(30)]
    out = io.StringIO()
    csv.writer(out).writerows([("text", "label"), *((text, "ab"[k % 2]) for k, text in enumerate(texts))])
    path.write_text(out.getvalue(), newline="")
    examples, rejected = read(path)
    assert not rejected
    assert [one.text for one in examples] == texts


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(
        st.text(st.sampled_from('ab" ,;\n\r\té'), min_size=1, max_size=12).filter(lambda text: text.strip()),
        min_size=1,
        max_size=8,
    ),
    dialect=st.sampled_from(["excel", "unix"]),
)
def test_what_the_csv_module_writes_is_read_as_it_was(texts: list[str], dialect: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, dialect)
            writer.writerow(["id", "text", "label"])
            writer.writerows((f"k{k}", text, "x y") for k, text in enumerate(texts))
        examples, rejected = read(path)
        assert not rejected
        assert [one.text for one in examples] == texts


@settings(max_examples=80, deadline=None)
@example(lines=[',"', '"'], suffix=".csv")
@example(lines=['a\t"', '"'], suffix=".tsv")
@given(
    lines=st.lists(st.text(st.sampled_from('ab",\t é'), max_size=14), max_size=12),
    suffix=st.sampled_from([".csv", ".tsv"]),
)
def test_no_line_is_lost_without_a_word(lines: list[str], suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"t{suffix}")
        header = "text,label" if suffix == ".csv" else "text\tlabel"
        path.write_text("\n".join([header, *lines, f"the end{header[4]}z"]) + "\n", encoding="utf-8")
        examples, rejected = read(path)
        inside = sum(f"{one.text}{one.target}".count("\n") for one in examples)
        # A quoted cell of nothing but line ends is no target: its lines are those up to the next record.
        starts = [int(one.id.split(":")[1]) for one in examples]
        starts += [int(one.place.split(":")[1]) for one in rejected]
        blank = [int(one.id.split(":")[1]) for one in examples if one.target is None]
        inside += sum(min((k for k in starts if k > start), default=start + 1) - start - 1 for start in blank)
        lost = sum(lines_in(one.reason) for one in rejected)
        num_lines = sum(1 for line in lines if line.strip()) + 1
        assert len(examples) + inside + lost >= num_lines


def test_rows_are_the_same_wherever_reading_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    bad = {10: '"left open,a', 13: 'a 5" screen,b', 40: '"never closed,b'}
    path.write_text(lines_of(60, bad))
    expected = [(one.id, one.text) for one in read(path)[0]]
    for taken in range(len(expected)):
        reader = open_source(path).open()
        before = [one for _ in range(taken) for one in reader.next_batch(1)]
        cursor = reader.cursor()
        reader.close()
        again = open_source(path).open(cursor)
        after = list(again.next_batch(100))
        again.close()
        assert [(one.id, one.text) for one in [*before, *after]] == expected
