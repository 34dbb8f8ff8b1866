"""Exports of annotation tools: Label Studio (JSON, JSON-MIN) and Argilla."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from everlearn.stream.records.labels import agreed_label
from everlearn.stream.records.record_error import RecordError
from everlearn.types import Json

__all__ = ["Annotated", "flattened"]

Record = dict[str, Json]

# Every record of such a tool has one of these.
_MARKS = frozenset({"annotations", "completions", "annotator", "responses", "suggestions", "annotation"})
_USUAL_TARGETS = frozenset({"target", "label", "intent", "category"})


class Annotated:
    """A record of an annotation tool, taken apart.

    Attributes:
        tool: That wrote it.
        fields: What was shown to annotators, and what else is known of it.
        shown: Names of those that were shown, of which one is the text.
        answers: By question: the labels that each annotator chose.
    """

    def __init__(self, tool: str, fields: Record, shown: Iterable[str]) -> None:
        self.tool = tool
        self.fields = fields
        self.shown = list(shown)
        self.answers: dict[str, list[list[Json]]] = {}

    def text_name(self, asked: Sequence[str]) -> str | None:
        """The field with the text: one that was asked for, or the only text that was shown."""
        for name in asked:
            if name in self.fields:
                return name
        texts = [name for name in self.shown if isinstance(self.fields.get(name), str)]
        return texts[0] if len(texts) == 1 else None

    def label(self, question: str | None, *, several: bool = False) -> tuple[str | None, Json]:
        """The question that was answered, and the label, or the list of labels.

        Args:
            question: That is asked for; None: the only one.
            several: Whether there may be several labels.

        Raises:
            RecordError: Several questions, labels or opinions.
        """
        if question is None and len(self.answers) > 1:
            raise RecordError(
                f"{len(self.answers)} questions are answered ({', '.join(self.answers)}); "
                "name one (--target-field)"
            )
        name = next(iter(self.answers), None) if question is None else question
        return name, agreed_label(self.answers.get(name or "", ()), several=several)


def flattened(record: Record) -> Annotated | None:
    """A record of an annotation tool; None: it is none."""
    if _MARKS.isdisjoint(record):
        return None
    if isinstance(record.get("data"), dict) and ("annotations" in record or "completions" in record):
        return _label_studio(record)
    if {"annotator", "annotation_id", "lead_time"} <= record.keys():
        return _label_studio_min(record)
    if isinstance(record.get("fields"), dict) and ("responses" in record or "suggestions" in record):
        return _argilla(record)
    if "annotation" in record and "inputs" in record:
        return _argilla_1(record)
    return None


def _label_studio(record: Record) -> Annotated:
    data = _members(record["data"])
    found = Annotated("Label Studio", {**data, **_id_of(record)}, data)
    for annotation in _objects(record.get("annotations") or record.get("completions")):
        if annotation.get("was_cancelled"):
            continue
        chosen: dict[str, list[Json]] = {}
        for result in _objects(annotation.get("result")):
            labels = _members(result.get("value")).get("choices")
            if isinstance(labels, list):
                chosen.setdefault(str(result.get("from_name", "label")), []).extend(labels)
        for question, labels in chosen.items():
            found.answers.setdefault(question, []).append(labels)
    return found


def _label_studio_min(record: Record) -> Annotated:
    # Data, id, answers, what is known of the annotation: in this order.
    names = list(record)
    begin = names.index("id") + 1 if "id" in record else names.index("annotator")
    answers = names[begin : names.index("annotator")]
    found = Annotated("Label Studio", record, (name for name in names[: max(begin - 1, 0)]))
    for name in answers or _USUAL_TARGETS.intersection(record):
        labels = _choices(record[name])
        if labels:
            found.answers[name] = [labels]
    return found


def _argilla(record: Record) -> Annotated:
    shown = _members(record["fields"])
    found = Annotated("Argilla", {**_members(record.get("metadata")), **shown, **_id_of(record)}, shown)
    responses = record.get("responses")
    if isinstance(responses, dict):
        for question, given in responses.items():
            for response in _objects(given):
                _answer(found, question, response)
    for response in _objects(responses):
        for question, given in _members(response.get("values")).items():
            _answer(found, question, {"status": response.get("status"), **_members(given)})
    return found


def _argilla_1(record: Record) -> Annotated:
    inputs = record["inputs"]
    shown: Record = dict(inputs) if isinstance(inputs, dict) else {"text": inputs}
    found = Annotated("Argilla", {**_members(record.get("metadata")), **shown, **_id_of(record)}, shown)
    labels = _choices(record["annotation"])
    if labels:
        found.answers["annotation"] = [labels]
    return found


def _answer(found: Annotated, question: str, response: Record) -> None:
    labels = _choices(response.get("value"))
    if labels and response.get("status") in (None, "submitted"):
        found.answers.setdefault(question, []).append(labels)


def _choices(value: Json) -> list[Json]:
    if isinstance(value, dict):
        value = value.get("choices")
    elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return [label for one in value for label in _choices(one)]
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list) else [value]


def _id_of(record: Record) -> Record:
    return {"id": record["id"]} if "id" in record else {}


def _members(value: Json) -> Record:
    return dict(value) if isinstance(value, dict) else {}


def _objects(value: Json) -> list[Record]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
