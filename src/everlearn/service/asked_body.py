"""What a request brings: however much is wrong with it, it is told of little, and soon.

A body of some megabytes can hold a million mistakes. To gather and to describe each would hold up everybody
else for the better part of a minute.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError

__all__ = ["AskedBody"]

_MANY = ("list", "dict", "set", "tuple")
_MOST_NAMES = 1_000


def _fail_fast(schema: Any) -> None:
    if isinstance(schema, list | tuple):
        for inner in schema:
            _fail_fast(inner)
    elif isinstance(schema, dict):
        if schema.get("type") in _MANY:
            schema["fail_fast"] = True
        for name, inner in schema.items():
            if name not in ("metadata", "serialization", "config"):
                _fail_fast(inner)


class AskedBody(BaseModel):
    """A model of which each list and each mapping is refused for the first thing that is wrong in it."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """See pydantic."""
        schema = handler(source)
        _fail_fast(handler.resolve_ref_schema(schema))
        return schema

    @model_validator(mode="before")
    @classmethod
    def _few_names(cls, given: Any) -> Any:
        """An object with any number of names that nobody knows is one mistake, not one for each."""
        if isinstance(given, dict) and len(given) > _MOST_NAMES:
            raise PydanticCustomError(
                "too_many_names", "an object of {number} names", {"number": f"{len(given):,}"}
            )
        return given
