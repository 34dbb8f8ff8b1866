"""What a learner's configuration is made of: the settings that a user has for it, and what no user sets."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, Self, get_args

from pydantic import ConfigDict, ValidationError

from everlearn.errors import ConfigError
from everlearn.settings.section import Section

__all__ = ["LearnerConfig", "same_as"]


def same_as(section: type[Section], name: str) -> Any:
    """A field with the default, range and meaning of a setting that has another name there."""
    return copy(section.model_fields[name])


class LearnerConfig(Section):
    """A learner's configuration; its JSON is part of states and of a run's record.

    Raises:
        ConfigError: Names the field and the value.
    """

    model_config = ConfigDict(strict=True)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_wrong(type(self), error, values)) from None

    # So pydantic makes those within others by itself: not strictly, where the outer one is not.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The configuration that ``to_json`` gave."""
        try:
            return cls.model_validate(dict(values), strict=False)
        except ValidationError as error:
            raise ConfigError(_wrong(cls, error, values)) from None

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON."""
        return self.model_dump(mode="json")

    def replace(self, **changes: Any) -> Self:
        """Another configuration in which these fields have these values."""
        return type(self)(**(dict(self) | changes))


_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
_NUMBERS = ("greater_than", "less_than", "int_", "float_", "finite_number")


def _wrong(section: type[Section], error: ValidationError, values: Mapping[str, Any]) -> str:
    """Each wrong field once, with the value that was given for it."""
    problems = {}
    for item in error.errors(include_url=False):
        if not item["loc"]:  # fields that do not go together
            problems[""] = str(item["ctx"]["error"])
            continue
        name = str(item["loc"][0])
        if item["type"] == "value_error":
            said = f"must {item['ctx']['error']}, not"
        elif item["msg"].startswith("Input should be "):
            said = f"must be {_expected(item, section)}, not"
        else:
            said = f"cannot be so ({item['msg'][0].lower()}{item['msg'][1:]}):"
        problems[name] = f"{name} {said} {values.get(name)!r}"
    return "; ".join(problems.values())


def _expected(item: Any, section: type[Section]) -> str:
    field = section.model_fields.get(item["loc"][0])
    if field is None or len(item["loc"]) > 1 or not item["type"].startswith(_NUMBERS):
        return str(item["msg"]).removeprefix("Input should be ")
    bounds = {name: getattr(rule, name) for rule in field.metadata for name in _BOUNDS if hasattr(rule, name)}
    words = [f"{_BOUNDS[name]} {bound:g}" for name, bound in bounds.items()]
    if int in (field.annotation, *get_args(field.annotation)):
        is_too_large = item["type"].startswith("less_than")
        return words[-1] if is_too_large else " of ".join(["a whole number", *words[:1]])
    return f"{bounds['ge']:g} or more" if list(bounds) == ["ge"] else " and ".join(words) or "a number"
