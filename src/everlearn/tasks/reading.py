"""How a run reads its streams, and files that are read whole."""

from __future__ import annotations

from everlearn.config import StreamSettings, TaskName
from everlearn.models.encoder.same_input import has_other_words
from everlearn.stream.rejections import duplicate, refused
from everlearn.stream.source import (
    DocumentConfig,
    EndOfStream,
    FieldNames,
    Rejection,
    Source,
    SourceConfig,
)
from everlearn.types import Example

__all__ = ["read_all", "source_config"]

_READ_LIMIT = 1_024
_NGRAM_MAX = 2  # of the words that two texts of one id are compared by
_OWN_IDS = "give every example an id of its own"


def read_all(source: Source, *, corrects: bool = True) -> tuple[list[Example], list[Rejection]]:
    """Every example of a source, and every rejection.

    Of examples with one id the first is taken, with the target that came last: the others are corrections of
    it, or its target that came late. Targets for examples that are not of the source are examples without
    text, behind the others.

    Args:
        source: The source.
        corrects: Whether another target is a correction; if not, it is a duplicate.
    """
    reader = source.open()
    by_id: dict[str, Example] = {}
    late_targets: list[Example] = []
    rejected: list[Rejection] = []
    number = 0
    try:
        while True:
            batch = reader.next_batch(_READ_LIMIT)
            rejected += reader.take_rejected()
            for example in batch:
                number += 1
                before = by_id.get(example.id)
                if before is None and example.text is None and example.code is None:
                    late_targets.append(example)
                elif before is None:
                    by_id[example.id] = example
                elif has_other_words(before, example, _NGRAM_MAX):
                    reason = f"id {example.id!r} was taken before, by another text; {_OWN_IDS}"
                    rejected.append(refused(source.name, number, example, reason))
                elif corrects and example.target not in (None, before.target):
                    by_id[example.id] = before.with_target(example.target)
                else:
                    rejected.append(duplicate(source.name, number, example))
    except EndOfStream:
        rejected += reader.take_rejected()
    finally:
        reader.close()
    return [*by_id.values(), *late_targets], rejected


def source_config(
    settings: StreamSettings,
    *,
    task: TaskName = "classify",
    text_optional: bool = False,
    with_targets: bool = True,
) -> SourceConfig:
    """The settings of a run as the streams' own configuration.

    Args:
        settings: The run's.
        task: Language models read documents and chats; encoder-decoders texts named ``source``, too.
        text_optional: See ``FieldNames.text_optional``.
        with_targets: Whether anybody looks at the targets.
    """
    limits = {} if settings.max_record_bytes is None else {"max_record_bytes": settings.max_record_bytes}
    documents = None
    if task == "lm":
        documents = DocumentConfig(split=settings.documents, max_piece_bytes=settings.piece_bytes, **limits)
    return SourceConfig(
        fields=FieldNames(
            text=settings.text_field,
            target=settings.target_field,
            id=settings.id_field,
            domain=settings.domain_field,
            time=settings.time_field,
            text_optional=text_optional and task != "lm",
            text_alternatives=("source",) if task == "seq2seq" and settings.text_field == "text" else (),
            messages="messages" if task == "lm" else None,
            lenient_target=not with_targets,
            target_is_label=task == "classify",
        ),
        strict=settings.strict,
        encoding=settings.encoding,
        delimiter=settings.delimiter,
        documents=documents,
        **limits,
    )
