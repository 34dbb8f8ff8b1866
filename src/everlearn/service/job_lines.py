"""A line of an uploaded file as an example, by the names that records usually have."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from pydantic import ValidationError

from everlearn.service.problems import Problem
from everlearn.service.routes.given import checked_example
from everlearn.service.schemas import ExampleIn
from everlearn.settings.service import ServiceConfig

__all__ = ["UnusableLine", "example_of_line"]

_TARGETS = ("target", "label", "intent", "category")
_OWN = ("id", "text", "domain", "time")
_NOTES = frozenset({"role", "learned", "predicted", "confidence", "outlier_score"})
"""What an export says of an example beside what it is."""


class UnusableLine(ValueError):
    """A line gives no example; the message says why."""


def example_of_line(
    line: bytes, default_id: str, config: ServiceConfig, *, takes_sets: bool = False
) -> dict[str, Any]:
    """An example by the names of ``Example``.

    The target is the first of target, label, intent and category that the record has. What else the record
    holds goes to its fields.

    >>> example_of_line(b'{"text": "hello", "label": "greeting", "customer": 7}', "j-1", ServiceConfig())
    {'id': 'j-1', 'text': 'hello', 'target': 'greeting', 'fields': {'customer': 7}}

    Args:
        line: The line.
        default_id: Its id, if it brings none.
        config: Whose limits hold.
        takes_sets: Whether texts have several labels each where it is to be learned.

    Raises:
        UnusableLine: It is none.
    """
    record = _record_in(line)
    target = next((name for name in _TARGETS if record.get(name) not in (None, "")), None)
    fields = record.get("fields")
    taken = {*_OWN, *_NOTES, *([] if target is None else [target])}
    taken |= {"target", *(["fields"] if isinstance(fields, dict) else [])}
    if record.get("text") is None and record.get("id") is None:
        raise UnusableLine(f"it has no text: a line needs the field text; its fields are {_names_of(record)}")
    values: dict[str, Any] = {name: record[name] for name in _OWN if record.get(name) is not None}
    values["id"] = _as_text(values.get("id", default_id))
    values["target"] = None if target is None else _as_text(record[target])
    values["fields"] = {name: value for name, value in record.items() if name not in taken}
    values["fields"] |= fields if isinstance(fields, dict) else {}
    try:
        return checked_example(ExampleIn.model_validate(values), config, takes_sets=takes_sets)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise UnusableLine(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except Problem as problem:
        special = problem.remedy if problem.remedy != problem.kind.remedy else None
        raise UnusableLine(problem.detail if special is None else f"{problem.detail}. {special}") from None


def _record_in(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line.decode("utf-8-sig"), parse_constant=_no_number)
    except UnicodeDecodeError:
        raise UnusableLine("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise UnusableLine(f"it is no JSON: {error.msg} at character {error.colno}") from None
    except RecursionError:
        raise UnusableLine("it is nested too deep") from None
    except ValueError as error:
        raise UnusableLine(str(error)) from None
    if not isinstance(record, dict):
        raise UnusableLine("it is JSON, but no object")
    if b"\\u" in line:
        try:
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise UnusableLine("it is not valid Unicode: it holds half a surrogate pair") from None
    return record


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _names_of(record: dict[str, Any]) -> str:
    names = [repr(name if len(name) <= 40 else f"{name[:40]}…") for name in list(record)[:10]]
    return ", ".join(names) or "none"


def _as_text(value: Any) -> Any:
    """Whole numbers, which files have as ids and labels, as text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
