"""Files that are read whole, and codes files that must fit a run."""

from __future__ import annotations

from everlearn.errors import RunError
from everlearn.models.encoder.same_input import has_other_words
from everlearn.stream.files.codes import CodesSource
from everlearn.stream.rejections import duplicate, rejection_of
from everlearn.stream.source import (
    EndOfStream,
    Rejection,
    Source,
)
from everlearn.tasks.records import LearnerRecord
from everlearn.types import Example

__all__ = ["check_codes", "read_all"]

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
                    rejected.append(rejection_of(source.name, number, example, reason))
                elif corrects and example.target not in (None, before.target):
                    by_id[example.id] = before.with_target(example.target)
                else:
                    rejected.append(duplicate(source.name, number, example))
    except EndOfStream:
        rejected += reader.take_rejected()
    finally:
        reader.close()
    return [*by_id.values(), *late_targets], rejected


def check_codes(source: Source, record: LearnerRecord, owner: str) -> None:
    """Refuse a codes file that another coder made.

    Raises:
        RunError: It does not fit the run.
    """
    if not isinstance(source, CodesSource):
        return
    if source.coder_fingerprint != record.coder_fingerprint:
        raise RunError(
            f"{source.name} holds codes of another model or other settings ({source.coder_config}) than "
            f"{owner} ({record.coder_config}); encode the texts again with the run's settings"
        )
