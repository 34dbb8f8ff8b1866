"""Each code that a problem may have is known, and each known one is used."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import everlearn
from everlearn.service import problems

SOURCE = Path(everlearn.__file__).parent


def strings(path: Path) -> Iterator[tuple[str, bool]]:
    """Each string of a file, and whether it is the first argument of ``Problem``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    firsts = {
        id(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Problem" and node.args
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, id(node) in firsts


def test_codes_are_those_known() -> None:
    told, written = set(), set()
    for path in SOURCE.rglob("*.py"):
        for string, is_code in strings(path):
            if is_code:
                told.add(string)
            if path != Path(problems.__file__):
                written.add(string)
    assert len(told) > 30
    assert told <= set(problems.KINDS)
    of_errors = set(problems._CODES_OF_ERRORS.values())
    assert of_errors <= set(problems.KINDS)
    assert set(problems.KINDS) - written - of_errors == set()
