"""What is printed where the terminal's encoding lacks a character, and arguments that are no text."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.cli.tables import print_columns, print_json, print_table
from everlearn.cli.terminal import prepare_output

ENCODINGS = ["utf-8", "ascii", "cp1252", "gb18030", "utf-16-le"]

# Every character, lone surrogates included: names of files and records from elsewhere hold them.
TEXT = st.text(st.characters(), max_size=20)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def printed(encoding: str, write: Callable[[], None]) -> str:
    raw = io.BytesIO()
    before = sys.stdout
    sys.stdout = io.TextIOWrapper(raw, encoding=encoding)
    try:
        prepare_output()
        write()
        sys.stdout.flush()
        return raw.getvalue().decode(encoding)
    finally:
        sys.stdout = before


def without_odd_numbers(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, list):
        return [without_odd_numbers(one) for one in value]
    if isinstance(value, dict):
        return {name: without_odd_numbers(one) for name, one in value.items()}
    return value


def strict_json(text: str) -> Any:
    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@given(st.dictionaries(TEXT, VALUE, max_size=4), st.sampled_from(ENCODINGS))
def test_json_comes_back_from_every_encoding(value: dict[str, Any], encoding: str) -> None:
    line = printed(encoding, lambda: print_json(value))
    assert line.count("\n") == 1
    # Two surrogates side by side are one character in JSON, as in UTF-16.
    assert strict_json(line) == strict_json(json.dumps(without_odd_numbers(value)))


@given(TEXT, st.sampled_from(ENCODINGS))
def test_tables_print_in_every_encoding(text: str, encoding: str) -> None:
    def write() -> None:
        print_table([("name", text)])
        print_columns(["name"], [[text]])

    assert "name" in printed(encoding, write)


def test_a_character_that_the_terminal_lacks_is_escaped() -> None:
    shown = printed("cp1252", lambda: print_table([("text", "naïve 我 🔑")]))
    assert "naïve \\u6211 \\U0001f511" in shown


def program(*arguments: bytes, folder: Path) -> subprocess.CompletedProcess[bytes]:
    command = [os.fsencode(sys.executable), b"-m", b"everlearn", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)


@pytest.mark.parametrize(
    "arguments",
    [
        (b"learn", b"caf\xe9.jsonl", b"--out", b"run"),
        (b"blame", b"run", b"--id", b"\xe9"),
    ],
)
def test_an_argument_that_is_not_utf_8_is_refused_before_anything_is_done(
    tmp_path: Path, arguments: tuple[bytes, ...]
) -> None:
    ended = program(*arguments, folder=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"error: the argument ")
    assert b"\\udce9" in ended.stderr
    assert b"is not UTF-8" in ended.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["a long text about a parcel " * 12, "with\0NUL", "short"])
def test_a_text_is_a_file_only_where_there_is_such_a_file(text: str) -> None:
    from everlearn.cli.commands.predict import _is_file

    assert not _is_file(text)
