"""Whether a stream is one of several labels an example."""

from __future__ import annotations

from contextlib import suppress

from everlearn.errors import EverlearnError
from everlearn.label_set import is_set
from everlearn.stream.open import is_pipe, is_standard_input, open_source
from everlearn.stream.source import EndOfStream, SourceConfig

__all__ = ["begins_with_lists"]

_LOOKED_AT = 100


def begins_with_lists(spec: str, config: SourceConfig) -> bool:
    """Whether half of the first targets are lists of labels; not known of a pipe, which is read once.

    A list among single labels is more often a mistake, which is told when it is rejected.

    Args:
        spec: The stream, as given.
        config: How records become examples; lists of labels are taken.
    """
    if is_standard_input(spec) or is_pipe(spec):
        return False
    with suppress(EverlearnError):  # whoever opens it to learn tells what is wrong with it
        source = open_source(spec, config)
        reader = source.open()
        try:
            with suppress(EndOfStream):
                targets = [one.target for one in reader.next_batch(_LOOKED_AT) if one.target is not None]
                return len(targets) > 0 and 2 * sum(map(is_set, targets)) >= len(targets)
        finally:
            reader.close()
    return False
