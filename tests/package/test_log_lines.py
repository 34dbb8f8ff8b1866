"""Lines of the log: one a record, in text or JSON, and without what an error cites."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from everlearn.log_lines import LogFormat, LogLines

CITED = "somebody's very own words"


def record(message: str = "it failed", *, raised: bool = False, **more: object) -> logging.LogRecord:
    info = None
    if raised:
        try:
            try:
                raise KeyError(CITED)
            except KeyError as error:
                raise ValueError(f"cannot take {CITED}") from error
        except ValueError:
            info = sys.exc_info()
    made = logging.LogRecord("everlearn.test", logging.ERROR, __file__, 1, message, (), info)
    made.__dict__.update(more)
    return made


@pytest.mark.parametrize("form", ["text", "json"])
def test_of_an_error_its_kind_and_places_are_told_and_its_message_only_if_asked_for(form: LogFormat) -> None:
    line = LogLines(form, texts=False).format(record(raised=True))
    assert CITED not in line
    assert "ValueError" in line
    assert "KeyError" in line
    assert "test_log_lines.py" in line
    assert CITED in LogLines(form, texts=True).format(record(raised=True))


def test_json_has_names() -> None:
    lines = LogLines("json", texts=False)
    told = json.loads(lines.format(record("two\nlines", request_id="r-1", status=200, what=object)))
    assert told["message"] == "two\nlines"
    assert (told["level"], told["logger"], told["request_id"], told["status"]) == (
        "error",
        "everlearn.test",
        "r-1",
        200,
    )
    assert told["time"].endswith("+00:00")
    assert "\n" not in lines.format(record("a\nb\u2028c", raised=True))
    assert "error" not in told


def test_no_text_makes_another_line() -> None:
    line = LogLines("text", texts=False).format(
        record("a\nb\x1b[31m", name_of_it="x y\n2026 INFO forged", n=3)
    )
    assert "\n" not in line
    assert "\x1b" not in line
    assert 'name_of_it="x y\\n2026 INFO forged" n=3' in line
