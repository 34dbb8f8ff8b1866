"""How the stream is read and in what order it is learned."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_serializer, field_validator

from everlearn.settings.conditions import OF_DOCUMENTS, is_not, is_one_of
from everlearn.settings.section import EVERY_TASK, LABEL_TASKS, Section, setting

__all__ = ["StreamSettings"]


class StreamSettings(Section, panel="Stream"):
    """How the stream is read and in what order it is learned."""

    text_field: tuple[Annotated[str, Field(min_length=1)], ...] = setting(
        ("text",),
        "--text-field",
        "NAME",
        min_length=1,
        default_text="text, of pairs text or source",
        shown_for=EVERY_TASK,
    )
    """Field with the text; several are joined."""
    target_field: str | None = setting(
        None,
        "--target-field",
        "NAME",
        default_text="the first of target, label, intent, category",
        shown_for=(*LABEL_TASKS, "seq2seq"),
    )
    """Field with label or target text."""
    id_field: str | None = setting(
        None, "--id-field", "NAME", default_text="id, else file name and line number"
    )
    """Field with a unique id."""
    domain_field: str | None = setting(None, "--domain-field", "NAME", default_text="domain")
    """Field that says where an example is from."""
    time_field: str | None = setting(
        None, "--time-field", "NAME", default_text="the first of time, date, timestamp"
    )
    """Field with an ISO 8601 time."""
    strict: bool = setting(False, "--strict")
    """Stop at the first record that cannot be used, else list it in rejected.jsonl."""
    max_record_bytes: int | None = setting(
        None,
        "--max-record-bytes",
        "SIZE",
        ge=16,
        default_text="1MB; language models: 64MB",
        also_called=("documents.max_record_bytes",),
    )
    """Longer records are rejected unread."""
    max_rejected: float = setting(0.5, "--max-rejected", "SHARE", ge=0.0, le=1.0)
    """Exit with code 3 at the end if a greater share of the records is rejected (of 10 or more). The other
    records stay learned. Repeated ids do not count."""
    encoding: str | None = setting(
        None, "--encoding", "NAME", default_text="utf-8, or what the file's beginning shows"
    )
    """How text files are encoded, for example cp1252 or utf-16. A note says what was recognised."""
    delimiter: str | None = setting(
        None,
        "--delimiter",
        "CHARACTER",
        min_length=1,
        max_length=1,
        default_text="what the header shows",
    )
    """Between the cells of a CSV file; tab for a tab."""
    documents: Literal["blank-lines", "file", "lines"] = setting(
        "blank-lines",
        "--documents",
        "KIND",
        needs=OF_DOCUMENTS,
        shown_for=("lm",),
        panel="Language model (--task lm)",
        also_called=("documents.split",),
    )
    """What a document is in plain text: blank-lines (between blank lines), file (all of it), lines."""
    piece_bytes: int = setting(16_384, unit="SIZE", ge=64, needs=OF_DOCUMENTS)
    """Longer documents are cut into pieces of at most so many bytes, for language models and the journal."""
    order: Literal["as-is", "shuffled", "by-class", "by-domain", "by-time"] = setting(
        "as-is", "--order", "ORDER"
    )
    """as-is, shuffled, by-class, by-domain or by-time; all but as-is read the whole stream first."""
    experiences: int = setting(
        1,
        "--experiences",
        "N",
        ge=1,
        le=100_000,
        needs=(is_not("stream.order", "by-domain"),),
        also_called=("num_experiences",),
    )
    """Cut the stream into N experiences and, with --test, measure accuracy after each. Language models and
    encoder-decoders are measured with --order by-domain, where each domain is an experience."""
    # A piece of a document may be 16 KB long, and a batch is not interrupted.
    batch_size: int = setting(
        256,
        "--batch-size",
        "N",
        ge=1,
        le=1_000_000,
        own_defaults={"gradient": 32, "seq2seq": 32, "lm": 4},
        shown_for=LABEL_TASKS,
    )
    """Examples predicted, then learned, in one step. For language models: documents, or pieces of 16 KB."""
    delay: int = setting(
        0, "--delay", "N", ge=0, le=10_000_000, needs=(is_one_of("task", *LABEL_TASKS, "seq2seq"),)
    )
    """Targets arrive N examples after their texts."""

    @field_validator("text_field", mode="before")
    @classmethod
    def _fields_of_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_serializer("text_field")
    def _one_of_fields(self, value: tuple[str, ...]) -> str | list[str]:
        return value[0] if len(value) == 1 else list(value)
