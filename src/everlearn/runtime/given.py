"""What a program gives: checked, and taken as a stream would take it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from everlearn.errors import ConfigError, InputError
from everlearn.settings.run_config import flatten_settings
from everlearn.stream.rejections import rejection_of
from everlearn.stream.source import Rejection
from everlearn.types import Example

__all__ = [
    "given_examples",
    "given_names",
    "given_pairs",
    "given_settings",
    "given_targets",
    "given_texts",
    "usable",
]


def given_examples(given: Iterable[Example]) -> list[Example]:
    """A batch to learn.

    Raises:
        InputError: Something in it is no example.
    """
    if isinstance(given, str | Example) or not isinstance(given, Iterable):
        raise InputError(f"give a list of examples, not {type(given).__name__}")
    batch = list(given)
    for number, example in enumerate(batch, start=1):
        if not isinstance(example, Example):
            raise InputError(f"item {number} is no Example, but {type(example).__name__}")
    return batch


def usable(batch: Sequence[Example], source_name: str, first: int) -> tuple[list[Example], list[Rejection]]:
    """Examples of a batch as a stream would give them, and those that it would reject.

    Empty texts and ids are rejected; an empty target is none.

    Args:
        batch: The batch.
        source_name: For messages.
        first: Number of the first.
    """
    taken, rejected = [], []
    for number, example in enumerate(batch, start=first):
        if example.text is not None and not example.text.strip() and example.code is None:
            rejected.append(rejection_of(source_name, number, example, "its text is empty"))
            continue
        if not example.id:
            rejected.append(rejection_of(source_name, number, example, "its id is empty"))
            continue
        is_empty = example.target is not None and not example.target.strip()
        taken.append(example.with_target(None) if is_empty else example)
    return taken, rejected


def given_texts(given: Sequence[Example | str]) -> list[Example]:
    """What is to be predicted.

    Raises:
        InputError: It is no list, or something in it is neither text nor example, or empty.
    """
    if isinstance(given, str | Example):
        raise InputError("give a list of texts or examples, not one alone")
    if not isinstance(given, Iterable):
        raise InputError(f"give a list of texts or examples, not {type(given).__name__}")
    examples = []
    for number, item in enumerate(given, start=1):
        if not isinstance(item, str | Example):
            raise InputError(f"item {number} is neither a text nor an Example, but {type(item).__name__}")
        example = item if isinstance(item, Example) else Example(id=str(number), text=item)
        if example.code is None and example.vector is None and not (example.text or "").strip():
            raise InputError(f"text {number} is empty: there is nothing to predict")
        examples.append(example)
    return examples


def given_names(given: Sequence[str], what: str) -> list[str]:
    """Ids that are given in a list.

    Raises:
        InputError: It is one string: each of its letters would be taken for an id.
    """
    if isinstance(given, str):
        raise InputError(f"{what}: give a list of ids, not the string {given!r}")
    return list(given)


def given_targets(given: Mapping[str, str]) -> Mapping[str, str]:
    """Targets by id.

    Raises:
        InputError: It is no mapping, or something in it is no text.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"give targets by id, as in {{'m-17': 'refund'}}, not {type(given).__name__}")
    for id_, target in given.items():
        if not isinstance(id_, str) or not isinstance(target, str) or not target.strip():
            raise InputError(f"{id_!r}: its target must be a text that is not empty, not {target!r}")
    return given


def given_pairs(given: Mapping[str, str] | Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Fields and the values that they must have.

    Raises:
        InputError: It is neither a mapping nor a list of pairs of texts.
    """
    pairs = list(given.items() if isinstance(given, Mapping) else given)
    for pair in pairs:
        if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise InputError(f"where: give values by field, as in {{'customer': 'c-17'}}, not {given!r}")
    return pairs


def given_settings(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings by dotted path, whether they were given so or nested.

    Raises:
        ConfigError: It is no mapping by names.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ConfigError(f"give settings by name, as in {{'seed': 1}}, not {given!r}")
    return {name: str(value) if isinstance(value, Path) else value for name, value in flatten_settings(given)}
