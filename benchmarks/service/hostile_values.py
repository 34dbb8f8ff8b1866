"""Values that nobody should send: JSON that a description allows, and the same with something wrong in it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

__all__ = ["NASTY", "allowed", "as_json", "nested", "spoilt"]

_DEEPEST = 6
_MOST_ITEMS = 3

NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, -0.0, 10**400, -(10**40), 2**63, 2**31, 1e308, float("nan"), float("inf"),
    "", " ", "\ud800", "\udfff and \ud800", "a\x00b", "\x1b[2J", "\u202e\ufeff", "../../etc/passwd",
    "a" * 70_000, "e\u0301" * 500, "'; DROP TABLE examples; --", "{{7*7}}", "<script>", "NaN",
    "1e999", "\U0010ffff", [], {}, [[]], [None], [{}], {"": None}, {"a" * 5_000: 1},
    ["text"] * 300, {"$ref": "#"}, [[[[[[[[1]]]]]]]], {str(number): number for number in range(2_000)},
    [1] * 800_000, [{}] * 500_000, {str(number): 1 for number in range(200_000)},
)  # fmt: skip
"""In the place of what is asked for."""


def allowed(
    schema: Mapping[str, Any], schemas: Mapping[str, Any], chance: random.Random, depth: int = 0
) -> Any:
    """A value that a JSON schema allows, or nearly.

    Args:
        schema: The schema.
        schemas: Those that it may name, by name.
        chance: Draws.
        depth: How deep the value lies.
    """
    if "$ref" in schema:
        return allowed(schemas[schema["$ref"].rsplit("/", 1)[1]], schemas, chance, depth)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return chance.choice(schema["enum"])
    for name in ("anyOf", "oneOf", "allOf"):
        if name in schema:
            return allowed(chance.choice(schema[name]), schemas, chance, depth)
    if depth > _DEEPEST:
        return None
    match schema.get("type"):
        case "object" | None if "properties" in schema:
            required = schema.get("required", ())
            return {
                name: allowed(inner, schemas, chance, depth + 1)
                for name, inner in schema["properties"].items()
                if name in required or chance.random() < 0.5
            }
        case "object":
            inner = schema.get("additionalProperties")
            inner = inner if isinstance(inner, dict) else {"type": "string"}
            return {_word(chance): allowed(inner, schemas, chance, depth + 1) for _ in range(_few(chance))}
        case "array":
            items = schema.get("items", {"type": "string"})
            return [allowed(items, schemas, chance, depth + 1) for _ in range(max(1, _few(chance)))]
        case "integer":
            return chance.choice([0, 1, 2, 7, 1_000])
        case "number":
            return chance.choice([0, 0.5, 1])
        case "boolean":
            return chance.random() < 0.5
        case "null":
            return None
    return _word(chance)


def spoilt(value: Any, chance: random.Random) -> Any:
    """A copy in which one thing, wherever it lies, is another that should not be there."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        name = chance.choice(list(value))
        if chance.random() < 0.1:
            return {other: inner for other, inner in value.items() if other != name}
        return {**value, name: spoilt(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.6:
        place = chance.randrange(len(value))
        return [*value[:place], spoilt(value[place], chance), *value[place + 1 :]]
    return chance.choice(NASTY)


def as_json(value: Any) -> bytes:
    """JSON as some programs write it: with NaN, Infinity, and halves of surrogate pairs as escapes."""
    return json.dumps(value).encode()


def nested(chance: random.Random) -> bytes:
    """JSON that is nested very deep, closed or not."""
    depth = chance.choice([50, 1_000, 100_000, 1_000_000])
    opening, closing = chance.choice([(b"[", b"]"), (b'{"a":', b"}"), (b'{"text":[', b"]}")])
    within = opening * depth + b"1" + (closing * depth if chance.random() < 0.5 else b"")
    return within if chance.random() < 0.5 else b'{"text": ' + within + b"}"


def _few(chance: random.Random) -> int:
    return chance.randint(0, _MOST_ITEMS)


def _word(chance: random.Random) -> str:
    return chance.choice(["text", "a text that asks for its card", "desk", "id", "card_arrival", "p-1", "1"])
