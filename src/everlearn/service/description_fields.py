"""What a schema of the API's description (JSON Schema) says, in words, and an example of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Schema", "example_of", "objects_in", "resolved", "words_of"]

Schema = Mapping[str, Any]

_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "object",
}
_EXAMPLES: Mapping[str, Any] = {
    "string": "a text",
    "integer": 1,
    "number": 0.5,
    "boolean": True,
    "null": None,
    "object": {},
}
_BOUNDS = (
    ("minimum", "at least {:,}"),
    ("exclusiveMinimum", "more than {:,}"),
    ("maximum", "at most {:,}"),
    ("exclusiveMaximum", "less than {:,}"),
    ("minLength", "at least {:,} characters"),
    ("maxLength", "at most {:,} characters"),
    ("minItems", "at least {:,} of them"),
    ("maxItems", "at most {:,} of them"),
    ("minProperties", "at least {:,} names"),
    ("format", "{}"),
    ("pattern", "like {}"),
)


def resolved(schema: Schema, models: Mapping[str, Schema]) -> Schema:
    """A schema itself, where one refers to it by its name."""
    while "$ref" in schema:
        schema = models[str(schema["$ref"]).rpartition("/")[2]]
    return schema


def words_of(schema: Schema, models: Mapping[str, Schema]) -> str:
    """Type and constraints.

    >>> words_of({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}, {})
    'whole number (at least 1) or null'
    >>> words_of({"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 5}, {})
    'list of "a" | "b" (at most 5 of them)'
    """
    schema = resolved(schema, models)
    bounds = ", ".join(said.format(schema[name]) for name, said in _BOUNDS if name in schema)
    return f"{_type_of(schema, models)} ({bounds})" if bounds else _type_of(schema, models)


def _type_of(schema: Schema, models: Mapping[str, Schema]) -> str:
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if "enum" in schema:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    if one_of := _alternatives(schema):
        return " or ".join(dict.fromkeys(words_of(one, models) for one in one_of))
    kind = schema.get("type")
    if kind == "array":
        return f"list of {words_of(schema['items'], models)}" if schema.get("items") else "list"
    values = schema.get("additionalProperties")
    if kind == "object" and isinstance(values, dict) and values:
        return f"object of {words_of(values, models)} by name"
    return _TYPES.get(str(kind), "anything")


def _alternatives(schema: Schema) -> list[Schema]:
    found: list[Schema] = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf") or []
    return found


def objects_in(schema: Schema, models: Mapping[str, Schema]) -> Iterator[Schema]:
    """The objects with fields that a value is made of, those within fields of them left out."""
    schema = resolved(schema, models)
    if schema.get("properties"):
        yield schema
        return
    inner = [*_alternatives(schema), schema.get("items"), schema.get("additionalProperties")]
    for one in inner:
        if isinstance(one, dict):
            yield from objects_in(one, models)


def example_of(schema: Schema, models: Mapping[str, Schema], depth: int = 8) -> Any:
    """A value as the schema wants it: what it gives as an example, else the fields that are required."""
    schema = resolved(schema, models)
    for given in (schema.get("examples"), schema.get("enum")):
        if given:
            return given[0]
    if "const" in schema or "default" in schema:
        return schema["const"] if "const" in schema else schema["default"]
    if one_of := _alternatives(schema):
        return example_of(one_of[0], models, depth)
    kind = str(schema.get("type", "string"))
    if kind == "array":
        return [example_of(schema.get("items", {}), models, depth - 1)] if depth else []
    if kind == "object" and depth:
        fields, needed = schema.get("properties", {}), schema.get("required", ())
        told = {name: example_of(fields[name], models, depth - 1) for name in needed}
        values = schema.get("additionalProperties")
        if schema.get("minProperties") and isinstance(values, dict):
            told["name"] = example_of(values, models, depth - 1)
        return told
    if kind in ("integer", "number"):
        return max(_EXAMPLES[kind], schema.get("minimum", 0))
    return _EXAMPLES.get(kind, "a text")
