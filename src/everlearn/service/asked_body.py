"""What a request brings: however much is wrong with it, it is told of little, and soon.

A body of some megabytes can hold a million mistakes. To gather and to describe each would hold up everybody
else for the better part of a minute.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError

__all__ = ["AskedBody"]

_MANY = ("list", "dict", "set", "tuple")
_MOST_NAMES = 1_000
_LONGEST_NAME = 60
_MEANT = {
    **dict.fromkeys(("label", "labels", "intent", "category", "class", "answer"), "target"),
    **dict.fromkeys(("body", "message", "content", "sentence", "input"), "text"),
    **dict.fromkeys(("inputs", "sentences"), "texts"),
    **dict.fromkeys(("k", "top_k"), "top"),
}
"""What others call a field, and what it is called here."""


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
        """An object with any number of names that nobody knows is one mistake, not one for each.

        Where a name is unknown, that is the mistake that is told: what was meant by it is missing elsewhere.
        """
        if isinstance(given, dict) and len(given) > _MOST_NAMES:
            raise PydanticCustomError(
                "too_many_names", "an object of {number} names", {"number": f"{len(given):,}"}
            )
        if isinstance(given, dict) and cls.model_config.get("extra") == "forbid":
            known = _names_of(cls)
            for name in given:
                if name not in known:
                    raise _unknown(str(name), known)
        return given


@cache
def _names_of(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in model.model_fields.items())


def _unknown(name: str, known: frozenset[str]) -> PydanticCustomError:
    """Says what a field that nobody knows may have been meant to be."""
    meant = _MEANT.get(name)
    if meant not in known:
        near = get_close_matches(name, sorted(known), 1) if len(name) <= _LONGEST_NAME else []
        meant = near[0] if near else None
    hint = f"did you mean {meant}?" if meant else f"there are {', '.join(sorted(known))}"
    shown = name[:_LONGEST_NAME].encode("utf-8", "replace").decode()  # it may be no Unicode
    return PydanticCustomError("unknown_field", "unknown field; {hint}", {"field": shown, "hint": hint})
