"""What a section of settings is made of: typed fields, each with what is told of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from everlearn.settings.conditions import Needs

__all__ = ["EVERY_TASK", "LABEL_TASKS", "Section", "Setting", "problems_of", "setting"]

EVERY_TASK = ("classify", "multilabel", "lm", "seq2seq")
LABEL_TASKS = ("classify", "multilabel")


@dataclass(frozen=True, slots=True)
class Setting:
    """What is told of a setting beside its type, range, default and help (the field's docstring).

    Attributes:
        flag: Its option on the command line; None: it is given in a file only.
        unit: The word that stands for its value; see ``everlearn.settings.units``.
        default_text: What holds where it is not given, in words, where the field's default does not say it.
        own_defaults: Defaults of new runs with one kind of classifier, or with another task.
        needs: Where it has an effect, beside what its section needs.
        shown_for: Tasks whose short help shows it.
        panel: Heading that it stands under in the help; None: that of its section.
        also_called: Names that messages of the packages below have for it.
    """

    flag: str | None
    unit: str
    default_text: str | None = None
    own_defaults: Mapping[str, Any] = field(default_factory=dict)
    needs: Needs = ()
    shown_for: tuple[str, ...] = ()
    panel: str | None = None
    also_called: tuple[str, ...] = ()


def setting(default: Any, flag: str | None = None, unit: str = "", **told: Any) -> Any:
    """Declare a setting.

    Args:
        default: What it is where it is not given.
        flag: As of ``Setting``.
        unit: The same.
        **told: What else ``Setting`` tells, and its range, as of pydantic's ``Field``.
    """
    own = {name: told.pop(name) for name in Setting.__dataclass_fields__.keys() & told.keys()}
    kept: Any = {"setting": Setting(flag, unit, **own)}
    return Field(default, json_schema_extra=kept, **told)


class Section(BaseModel):
    """Settings that belong together; unknown names are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, defer_build=True
    )
    panel: ClassVar[str] = ""
    needs: ClassVar[Needs] = ()

    def __init_subclass__(cls, *, panel: str = "", needs: Needs = (), **keywords: Any) -> None:
        """Note what all settings of the section have: a heading in the help, and where any has an effect."""
        super().__init_subclass__(**keywords)
        cls.panel, cls.needs = panel or cls.panel, needs or cls.needs


def problems_of(error: ValidationError, known: Collection[str]) -> Iterator[str]:
    """Every wrong or unknown setting with its value, by its path, with the known one that may be meant."""
    for item in error.errors(include_url=False):
        path = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            sections = {name.rpartition(".")[0] for name in known}
            meant = get_close_matches(path, [*known, *sections], n=1)
            yield f"unknown setting {path}{f' (did you mean {meant[0]}?)' if meant else ''}"
        else:
            message = item["msg"][0].lower() + item["msg"][1:]
            yield f"{path} = {item['input']!r}: {message}"
