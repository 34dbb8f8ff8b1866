"""Settings as they are declared: what the command line, the documents and the checks are made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from everlearn.settings.conditions import Needs
from everlearn.settings.section import Section, Setting

__all__ = ["Declared", "declared_in"]

_LEARNERS: Mapping[str, str] = {
    "gradient": "gradient learner",
    "lm": "language models",
    "seq2seq": "encoder-decoders",
}


@dataclass(frozen=True)
class Declared:
    """A setting with its place in the tree.

    Attributes:
        path: Dotted, from the top.
        field: Type, range, default and help.
        setting: What is told of it beside that.
        panel: Heading that it stands under.
        needs: Where it has an effect.
    """

    path: str
    field: FieldInfo
    setting: Setting
    panel: str
    needs: Needs

    @property
    def name(self) -> str:
        """Of the parameter that takes its option."""
        return (self.setting.flag or "").removeprefix("--").replace("-", "_")

    @cached_property
    def type(self) -> Any:
        """Of its values, None aside."""
        kind = self.field.annotation
        if get_origin(kind) not in (Union, UnionType):
            return kind
        return next(part for part in get_args(kind) if part is not type(None))

    @property
    def help(self) -> str:
        """Its docstring on one line."""
        return " ".join((self.field.description or "").split())

    def default_in_words(self, learner: str | None = None) -> str:
        """What holds where it is not given.

        Args:
            learner: Of new runs with it; None: of all.
        """
        own = self.setting.own_defaults
        if learner is not None and learner in own:
            return in_words(own[learner])
        if self.setting.default_text is not None:
            return self.setting.default_text
        usual = in_words(self.field.get_default(call_default_factory=True))
        if learner is not None:
            return usual
        return "; ".join([usual, *(f"{_LEARNERS[name]}: {in_words(value)}" for name, value in own.items())])


def in_words(value: Any) -> str:
    """A default as help and documents show it.

    >>> in_words(False), in_words(None), in_words(60.0), in_words(10_000)
    ('no', 'none', '60', '10000')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None or value in ((), {}) else str(value)


def declared_in(section: type[Section], prefix: str = "") -> Iterator[Declared]:
    """The settings of a section and of those within it, in their order."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from declared_in(kind, f"{prefix}{name}.")
        elif isinstance(field.json_schema_extra, dict):
            setting: Any = field.json_schema_extra["setting"]
            needs = (*section.needs, *setting.needs)
            yield Declared(f"{prefix}{name}", field, setting, setting.panel or section.panel, needs)
