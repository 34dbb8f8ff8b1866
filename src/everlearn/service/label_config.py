"""What a labelling configuration of Label Studio says of texts and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from everlearn.service.problems import Problem

__all__ = ["LabelConfig", "read_label_config"]

_MOST_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """Where a text is, and where its labels go.

    Attributes:
        from_name: Name of the control that labels.
        to_name: Name of what is labelled.
        kind: "choices" or "textarea" (for what is written).
        field: The field of a task's data that holds the text.
        choices: Values by what labels they stand for: their aliases and values, and both in lower case.
    """

    from_name: str
    to_name: str
    kind: str
    field: str
    choices: Mapping[str, str]

    def text_of(self, data: Mapping[str, Any]) -> str:
        """The text of a task. Raises Problem where there is none."""
        text = data.get(self.field)
        if not isinstance(text, str):
            raise Problem("request-invalid", f"a task's data has no text {self.field!r}")
        return text

    def choice_of(self, label: str) -> str | None:
        """The choice that stands for a label; None: there is none."""
        return self.choices.get(label, self.choices.get(label.lower()))

    def targets_in(self, result: Sequence[Mapping[str, Any]]) -> list[str]:
        """What an annotation says, as labels (or as what was written)."""
        told = list[str]()
        for one in result:
            if one.get("from_name") == self.from_name and isinstance(one.get("value"), dict):
                found = one["value"].get("choices" if self.kind == "choices" else "text")
                told += [found] if isinstance(found, str) else [str(item) for item in found or ()]
        return told

    def result_of(self, values: Sequence[str]) -> list[dict[str, Any]]:
        """What Label Studio shows as a prediction."""
        value = {"choices": list(values)} if self.kind == "choices" else {"text": list(values)}
        return [{"from_name": self.from_name, "to_name": self.to_name, "type": self.kind, "value": value}]


def read_label_config(text: str, *, writes: bool = False) -> LabelConfig:
    """Read a labelling configuration.

    Args:
        text: XML.
        writes: Whether what is written is meant (TextArea), not what is chosen (Choices).

    Raises:
        Problem: It is no XML, or has no control of the kind for a text.
    """
    # Entities are what is dangerous in XML; a configuration has no use for them.
    if len(text) > _MOST_CHARACTERS or "<!doctype" in text.lower() or "<!entity" in text.lower():
        raise Problem("request-invalid", "label_config: a document type, or too long")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise Problem("request-invalid", f"label_config: {error}") from None
    fields = {
        one.get("name", ""): one.get("value", "").removeprefix("$")
        for one in root.iter()
        if one.get("value", "").startswith("$") and one.get("name")
    }
    for control in root.iter("TextArea" if writes else "Choices"):
        name, to_name = control.get("name"), control.get("toName", "")
        if name and to_name in fields:
            return LabelConfig(
                from_name=name,
                to_name=to_name,
                kind="textarea" if writes else "choices",
                field=fields[to_name],
                choices=_choices(control),
            )
    kind = "TextArea" if writes else "Choices"
    raise Problem("request-invalid", f"label_config: there is no <{kind}> for a text ($field)")


def _choices(control: ElementTree.Element) -> dict[str, str]:
    known = dict[str, str]()
    told = list[tuple[str, str]]()
    for one in control.iter("Choice"):
        value = one.get("value", "")
        told.append((one.get("alias") or value, value))
    for exact in (True, False):
        for choice, value in told:
            for label in (choice, value):
                known.setdefault(label if exact else label.lower(), choice)
    return known
