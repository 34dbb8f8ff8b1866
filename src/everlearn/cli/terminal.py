"""What the program may print, and what it can be told, whatever the terminal's encoding."""

from __future__ import annotations

import codecs
import io
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from everlearn.errors import ConfigError
from everlearn.json_text import json_text

__all__ = ["check_arguments", "json_line", "prepare_output"]


def prepare_output() -> None:
    """Let standard output and error escape what their encoding does not have, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def json_line(value: Mapping[str, Any]) -> str:
    """A JSON object on one line, valid in whatever encoding standard output has."""
    line = json_text(value)
    try:
        line.encode(_encoding())
    except UnicodeEncodeError:
        line = json.dumps(json.loads(line))
    return line


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse arguments that are no text: names and ids are kept as UTF-8.

    Raises:
        ConfigError: Names the first, with its bytes escaped.
    """
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = argument.encode(errors="backslashreplace").decode()
            raise ConfigError(
                f"the argument {shown} is not UTF-8, and names, ids and texts are kept as UTF-8; rename the "
                "file or folder, or pass what it holds through standard input (-)"
            ) from None


def _encoding() -> str:
    name = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "ascii"
