"""docs/models.md shows the table that the families are tested by."""

from __future__ import annotations

from pathlib import Path

from tests.families.table import as_markdown

_PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def test_the_page_has_the_table() -> None:
    assert f"\n\n{as_markdown()}\n\n" in _PAGE.read_text(encoding="utf-8")
