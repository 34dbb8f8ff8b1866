"""What came of an operation, as its command prints it in JSON."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any

from everlearn.types import Json

__all__ = ["figures_of"]


def figures_of(outcome: Any, *, without: Collection[str] = (), **renamed: str) -> dict[str, Json]:
    """An outcome's fields in their order, without the ``num_`` and ``is_`` of their names.

    Args:
        outcome: A dataclass.
        without: Fields that are left out.
        **renamed: Fields that are called otherwise, and how.
    """
    values = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
    return {
        renamed.get(name, name.removeprefix("num_").removeprefix("is_")): (
            list(value) if isinstance(value, tuple) else value
        )
        for name, value in values.items()
        if name not in without
    }
