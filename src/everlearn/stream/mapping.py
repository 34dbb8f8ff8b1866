"""From a record, a dict of whatever the file holds, to an example."""

from __future__ import annotations

import datetime
import decimal
import math
import re
from typing import Any

from everlearn.stream.excerpt import excerpt_of
from everlearn.stream.notes import ReadingNotes
from everlearn.stream.records.annotated import flattened
from everlearn.stream.records.chats import take_chat
from everlearn.stream.records.labels import AS_SETS, label_set
from everlearn.stream.records.nested import join_texts, lift, nested_text
from everlearn.stream.records.record_error import RecordError
from everlearn.stream.source import FieldNames
from everlearn.types import Example, Json

__all__ = ["RecordError", "RecordMapper", "json_value", "whole_number"]

_TARGET_NAMES = ("target", "label", "intent", "category")
_ID_NAMES = ("id",)
_DOMAIN_NAMES = ("domain",)
_TIME_NAMES = ("time", "date", "timestamp")

_WHOLE = re.compile(r"-?\d+\.0")
# Beyond it a float is not told from its neighbours, and its digits mean little.
_MAX_WHOLE = 2.0**53
_MAX_NAMES = 10


class RecordMapper:
    """Makes examples of records.

    - The text must be a string that is not blank and holds no NUL.
    - The target: a string is taken as it is, a boolean as its ``str()``, a number likewise, but whole ones
      without a decimal point (1.0 is "1": a column of whole numbers becomes one of floats where a value is
      missing); null, a missing field, NaN and a blank string are no target, and the next of the usual
      names is looked at; an object is an error, and a list, too, unless several labels are asked for.
    - Id, domain and time are taken likewise; a list or an object under one of the usual names (not
      one that was asked for) is left among the other fields.
    - A record with an id and a target, whose text is missing or blank, is a target for an example that came
      before, where ``fields.text_optional`` says so.
    - An example without id gets ``<stem>:<number>``.
    - Where chats are asked for and there is no text, the contents of the messages, joined by line ends,
      are the text; the messages stay among the other fields. Chats of other shapes become messages.
    - A name with dots reaches into objects. Several fields of text are joined by line ends.
    - A record of an annotation tool gives what annotators were shown, and the label that they chose.

    Args:
        fields: Names of the fields.
        stem: Begins the ids of records that have none.
        typed: Whether numbers are told from strings; where not, as in CSV, a target or id of "1.0" is "1".
        notes: Are told what the records turn out to be.

    Attributes:
        names: The fields that are looked at; all others are kept as they are.
        target_names: Those among them that hold a target.
        id_names: Those that hold an id.
    """

    def __init__(
        self, fields: FieldNames, stem: str, *, typed: bool = True, notes: ReadingNotes | None = None
    ) -> None:
        self._stem = stem
        self._notes = ReadingNotes(stem) if notes is None else notes
        self._joined = (fields.text, *fields.text_joined) if fields.text_joined else ()
        self._target_asked = fields.target
        self._typed = typed
        self._lenient_target = fields.lenient_target
        self._target_is_label = fields.target_is_label
        self._several_labels = fields.several_labels
        self._text_names = fields.text_names
        self._messages = fields.messages
        asked_for = {
            *fields.text_names,
            *fields.text_joined,
            fields.target,
            fields.id,
            fields.domain,
            fields.time,
            fields.messages,
        }

        def candidates(name: str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
            return (name,) if name is not None else tuple(each for each in usual if each not in asked_for)

        self._target_names = candidates(fields.target, _TARGET_NAMES)
        self._id_names = candidates(fields.id, _ID_NAMES)
        self.target_names = frozenset(self._target_names)
        self.id_names = frozenset(self._id_names)
        self._domain_names = candidates(fields.domain, _DOMAIN_NAMES)
        self._time_names = candidates(fields.time, _TIME_NAMES)
        self._asked_for = asked_for
        self._dotted = tuple(sorted(name for name in asked_for if name and "." in name))
        self._text_optional = fields.text_optional
        self.names = frozenset(
            name
            for names in (
                self._text_names, fields.text_joined, self._target_names, self._id_names,
                self._domain_names, self._time_names,
            )
            for name in (*names, self._messages)
            if name is not None
        )  # fmt: skip

    def example(self, record: dict[str, Json], number: int) -> Example:
        """The example of a record.

        Args:
            record: Consumed: what remains of it becomes the example's other fields.
            number: The record's line or row, from 1.

        Raises:
            RecordError: The record gives no example.
        """
        for name in self._dotted:
            lift(record, name)
        record = self._flat(record)
        if self._joined:
            join_texts(record, self._joined)
        text_name = next((name for name in self._text_names if record.get(name) is not None), None)
        if text_name is None and self._messages is not None and record.get(self._messages) is None:
            self._take_chat(record, self._messages)
        text: str | None
        if self._text_optional and text_name and _is_blank(record[text_name]) and self._brings_target(record):
            record[text_name], text_name = None, None
        if text_name is None and self._messages is not None and record.get(self._messages) is not None:
            text = _text_of_messages(record[self._messages], self._messages)
        elif text_name is None and self._brings_target(record):
            text = None
        else:
            text = self._text_of(record, text_name)
        for name in self._text_names:
            if name in record and record[name] is None:
                del record[name]
        target = self._target_of(record)
        identity = self._optional(record, self._id_names)
        if identity is not None and not self._typed:
            identity = whole_number(identity)
        return Example(
            id=f"{self._stem}:{number}" if identity is None else identity,
            text=text,
            target=target,
            domain=self._optional(record, self._domain_names),
            time=self._optional(record, self._time_names),
            fields=record,
        )

    @property
    def target_name(self) -> str:
        """The field in which a target is looked for first."""
        return self._target_names[0]

    def _flat(self, record: dict[str, Json]) -> dict[str, Json]:
        """The record, or what one of an annotation tool says."""
        found = flattened(record)
        if found is None:
            return record
        flat = found.fields
        for name in self._asked_for & record.keys():
            flat.setdefault(str(name), record[str(name)])
        text_name = found.text_name((*self._text_names, *self._joined))
        if text_name is not None and text_name not in (*self._text_names, *self._joined):
            flat[self._text_names[0]] = flat.pop(text_name)
        asked = self._target_asked
        if asked is not None and asked in flat and asked not in found.answers:
            return flat
        try:
            question, label = found.label(asked, several=self._several_labels)
        except RecordError:
            if not self._lenient_target:
                raise
            question = label = None
        for name in (*self._target_names, *found.answers):
            flat.pop(name, None)
        if label is None:
            self._notes.no_targets = (
                f"it is an export of {found.tool} whose records have no answers of annotators; label them "
                "there (choices count; predictions and suggestions do not), and export again"
            )
        else:
            flat[self.target_name] = label
            if asked is None and question not in self._target_names:
                self._notes.add(
                    "target",
                    f"{self._notes.name} is an export of {found.tool}; its labels are the answers to "
                    f"{question!r} (--target-field names another).",
                )
        return flat

    def _take_chat(self, record: dict[str, Json], name: str) -> None:
        messages = take_chat(record)
        if messages is not None:
            record[name] = messages

    def _brings_target(self, record: dict[str, Json]) -> bool:
        """Whether a record without text is a target for an example that came before."""
        return (
            self._text_optional
            and any(record.get(name) is not None for name in self._id_names)
            and any(record.get(name) is not None for name in self._target_names)
        )

    def _text_of(self, record: dict[str, Json], name: str | None) -> str:
        if name is None:  # none is there, or only as null
            name = next((each for each in self._text_names if each in record), None)
        if name is None:
            names = " or ".join(map(repr, self._text_names))
            inner = nested_text(record)
            hint = f", for example --text-field {inner}" if inner else ""
            raise RecordError(f"no field {names}; {_names_of(record)} (see --text-field{hint})")
        return check_text(record.pop(name), name)

    def _target_of(self, record: dict[str, Json]) -> str | None:
        for name in self._target_names:
            if name in record:
                try:
                    target = self._target(record.pop(name), name)
                except RecordError:
                    if not self._lenient_target:
                        raise
                    continue
                if target is not None:
                    return target if self._typed or not self._target_is_label else whole_number(target)
        return None

    def _target(self, value: Json, name: str) -> str | None:
        if not self._target_is_label or not isinstance(value, list):
            return _string(value, name)
        if not self._several_labels:
            raise RecordError(
                f"field {name!r} must be a string, a number or a boolean, not a list: {AS_SETS}"
            )
        target = label_set(value, name)
        _check_encodable(target, name)
        return target

    def _optional(self, record: dict[str, Json], names: tuple[str, ...]) -> str | None:
        for name in names:
            if name in record:
                value = record[name]
                if isinstance(value, (list, dict)) and name not in self._asked_for:
                    continue
                del record[name]
                found = _string(value, name)
                if found is not None:
                    return found
        return None


def _is_blank(value: Json) -> bool:
    return isinstance(value, str) and (not value or value.isspace())


def whole_number(cell: str) -> str:
    """A cell as written, but "1.0" as "1", where nothing says whether it is a number.

    >>> [whole_number(cell) for cell in ("1.0", "-2.0", "1.5", "1.00", "v1.0", "1")]
    ['1', '-2', '1.5', '1.00', 'v1.0', '1']
    """
    return cell[:-2] if _WHOLE.fullmatch(cell) else cell


def _names_of(record: dict[str, Json]) -> str:
    if not record:
        return "it has no fields"
    more = ", ..." if len(record) > _MAX_NAMES else ""
    return f"its fields are {excerpt_of(', '.join(list(record)[:_MAX_NAMES]))}{more}"


def check_text(text: object, name: str) -> str:
    """The text; raises RecordError unless it can be learned from."""
    if not isinstance(text, str):
        kind = "null" if text is None else type(text).__name__
        raise RecordError(f"field {name!r} must be a string, not {kind}")
    if not text or text.isspace():
        raise RecordError(f"field {name!r} is blank")
    if "\0" in text:
        raise RecordError(f"field {name!r} holds NUL characters: binary data?")
    _check_encodable(text, name)
    return text


def _text_of_messages(messages: Json, name: str) -> str:
    """The contents of a chat, one below the other; raises RecordError unless it is one."""
    if not isinstance(messages, list) or not messages:
        kind = "an empty list" if messages == [] else type(messages).__name__
        raise RecordError(f"field {name!r} must be a list of messages with 'role' and 'content', not {kind}")
    contents = []
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict):
            raise RecordError(
                f"field {name!r}: message {number} must be an object with 'role' and 'content', "
                f"not {type(message).__name__}"
            )
        for key in ("role", "content"):
            value = message.get(key)
            if not isinstance(value, str):
                kind = "null" if value is None else type(value).__name__
                what = f"{key!r} must be a string, not {kind}" if key in message else f"no {key!r}"
                raise RecordError(f"field {name!r}: message {number}: {what}")
            _check_encodable(value, name)
        if not message["role"] or message["role"].isspace():
            raise RecordError(f"field {name!r}: message {number} has a blank 'role'")
        contents.append(message["content"])
    return check_text("\n".join(contents), name)


def _check_encodable(value: str, name: str) -> None:
    # JSON can spell half a surrogate pair, which no tokenizer and no file takes later.
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise RecordError(f"field {name!r} is not valid Unicode: half a surrogate pair") from None


def _string(value: Any, name: str) -> str | None:
    if type(value) is str and value.isalnum() and value.isascii():
        return value
    if value is None:
        return None
    if isinstance(value, str):
        _check_encodable(value, name)
        return value if value and not value.isspace() else None
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if math.isinf(value):
            raise RecordError(f"field {name!r} is infinite")
        return str(int(value)) if value.is_integer() and abs(value) <= _MAX_WHOLE else str(value)
    if isinstance(value, (bool, int)):
        return str(value)
    kind = (
        "a list"
        if isinstance(value, list)
        else "an object"
        if isinstance(value, dict)
        else type(value).__name__
    )
    raise RecordError(f"field {name!r} must be a string, a number or a boolean, not {kind}")


def json_value(value: Any) -> Json:
    """A value of a typed table as JSON: dates in ISO 8601, NaN as null, bytes as the text they spell.

    Raises:
        RecordError: Bytes are not UTF-8.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return _decimal(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise RecordError("not UTF-8") from None
    if isinstance(value, dict):
        return {str(key): json_value(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(each) for each in value]
    return str(value)


def _decimal(value: decimal.Decimal) -> str | None:
    if value.is_nan():
        return None
    is_whole = value.is_finite() and abs(value) <= _MAX_WHOLE and value == value.to_integral_value()
    return str(int(value)) if is_whole else str(value)
