"""Lines of the log of a service and its processes: text or JSON, and without a word of any text.

What a program has not foreseen may cite what it was given, so of an error its kind and its places in the code
are written, and its message only where texts may be.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

__all__ = ["LogFormat", "LogLines", "prepare_logs", "prepare_logs_as_told"]

LogFormat = Literal["text", "json"]

_FORMAT_VARIABLE, _TEXTS_VARIABLE = "EVERLEARN_LOG_FORMAT", "EVERLEARN_LOG_TEXTS"
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}

_ExcInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None] | None | bool
)


class LogLines(logging.Formatter):
    """Records as lines; what ``extra`` brings is told by name.

    Args:
        form: "text" or "json".
        texts: Whether messages of unforeseen errors are written, too; may be changed at any time.
    """

    def __init__(self, form: LogFormat, *, texts: bool) -> None:
        super().__init__()
        self.form = form
        self.texts = texts

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        more = {name: value for name, value in record.__dict__.items() if name not in _OWN}
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        error = self._told(record.exc_info)
        message = record.getMessage()
        if self.form == "json":
            told: dict[str, Any] = {"time": time, "level": record.levelname.lower(), "logger": record.name}
            told |= {"message": message, **more}
            if error:
                told["error"] = error
            return json.dumps(told, ensure_ascii=True, default=str)
        words = " ".join(f"{name}={_plain(value)}" for name, value in more.items() if value is not None)
        line = f"{time} {record.levelname} {record.name}: {_on_one_line(message)}"
        return "\n  ".join([f"{line} {words}".rstrip(), *error])

    def _told(self, raised: _ExcInfo) -> list[str]:
        """An error: where it came from, place by place, and what it is."""
        if not isinstance(raised, tuple) or raised[1] is None:
            return []
        error, lines = raised[1], []
        for one in _with_causes(error):
            lines += [
                f"{frame.filename}:{frame.lineno} in {frame.name}"
                for frame in traceback.extract_tb(one.__traceback__)
            ]
            lines.append(f"{type(one).__name__}: {one}" if self.texts else type(one).__name__)
        return lines


def prepare_logs(form: LogFormat, *, texts: bool) -> LogLines:
    """Let this process write its log to standard error in these lines, and those that it starts as well."""
    lines = LogLines(form, texts=texts)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(lines)
    root = logging.getLogger()
    for earlier in list(root.handlers):
        root.removeHandler(earlier)
    root.addHandler(handler)
    logging.getLogger("everlearn").setLevel(logging.INFO)
    os.environ[_FORMAT_VARIABLE], os.environ[_TEXTS_VARIABLE] = form, str(int(texts))
    return lines


def prepare_logs_as_told(environment: Mapping[str, str]) -> None:
    """The same in a process that was started by one that has prepared its own."""
    form: LogFormat = "json" if environment.get(_FORMAT_VARIABLE) == "json" else "text"
    prepare_logs(form, texts=environment.get(_TEXTS_VARIABLE) == "1")


def _with_causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return found[::-1]


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return json.dumps(text) if any(c in text for c in ' "=\n\r') or not text.isprintable() else text


def _on_one_line(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
