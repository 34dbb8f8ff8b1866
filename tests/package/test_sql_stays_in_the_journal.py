"""Only the journal package knows its tables: everything else asks it by the names of questions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import everlearn

_STATEMENT = re.compile(
    r"\s*(?:(?:SELECT|INSERT|UPDATE|DELETE|REPLACE|CREATE|ALTER|DROP|PRAGMA|WITH|EXISTS)\s|(?:VACUUM|BEGIN)\b)"
)


def _breaches(source: str) -> Iterator[tuple[int, str]]:
    """Lines that query tables, or hold the database of a journal."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _STATEMENT.match(node.value):
            yield node.lineno, node.value
        elif isinstance(node, ast.Attribute) and node.attr in ("database", "_database"):
            yield node.lineno, ast.unparse(node)


_ANOTHER_DATABASE = "service/remembered.py"
"""Predictions that a service remembers lie in a database of their own, which no other file opens."""


def test_no_file_outside_of_the_journal_package_queries_tables() -> None:
    package = Path(everlearn.__file__).parent
    others = (path for path in package.rglob("*.py") if package / "journal" not in path.parents)
    files = [path for path in others if path != package / _ANOTHER_DATABASE]
    assert len(files) > 200
    found = [
        f"{path.relative_to(package)}:{line}: {what}"
        for path in files
        for line, what in _breaches(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_a_query_is_found_however_it_is_written() -> None:
    offending = '''
rows = journal.all("SELECT id FROM examples")
ask(f"UPDATE {table} SET role = 'learn'")
ask(
    """
    SELECT 1"""
)
asked = folder.journal.database
'''
    assert [line for line, _ in sorted(_breaches(offending))] == [2, 3, 5, 8]
    assert not [*_breaches('"""Selects and updates what is due."""\njournal.transaction()')]
