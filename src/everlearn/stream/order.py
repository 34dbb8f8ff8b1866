"""Orders in which a finite set of examples is streamed, cut into experiences."""

from __future__ import annotations

import datetime
import itertools
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from everlearn.errors import ConfigError, InputError
from everlearn.types import Example

__all__ = ["Experience", "Order", "arrange"]

Order = Literal["as-is", "shuffled", "by-class", "by-domain", "by-time"]

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Experience:
    """A part of the stream within which the data does not change its nature.

    Attributes:
        name: The domain, or ``experience 3`` counted from 1.
        examples: In the order of the stream.
    """

    name: str
    examples: tuple[Example, ...]


def arrange(examples: Iterable[Example], order: Order, num_experiences: int, seed: int) -> list[Experience]:
    """Order examples and cut them into experiences. All are kept in memory.

    - ``as-is``: the order given, cut into parts of near equal size.
    - ``shuffled``: shuffled, then cut likewise.
    - ``by-class``: the labels are sorted by name, shuffled, and dealt into groups of near equal number;
      each group's examples are one experience, shuffled inside.
    - ``by-domain``: one experience a domain, domains in shuffled order, examples shuffled inside;
      ``num_experiences`` is ignored.
    - ``by-time``: sorted by time (equal times in the order given), then cut. Times are ISO 8601 (a year
      or year and month will do; without zone, UTC is meant) or seconds since 1970.

    The same examples in the same order, with the same seed, always give the same result. No examples
    give no experiences.

    >>> examples = [Example(id=str(index), text="hello", target="ab"[index % 2]) for index in range(4)]
    >>> for experience in arrange(examples, "by-class", 2, seed=0):
    ...     print(experience.name, sorted({example.target for example in experience.examples}))
    experience 1 ['a']
    experience 2 ['b']

    Raises:
        ConfigError: The order is unknown, or there are more experiences than labels (or examples).
        InputError: An example lacks what the order goes by.
    """
    if order not in get_args(Order):
        raise ConfigError(f"order must be one of {', '.join(get_args(Order))}, not {order!r}")
    if num_experiences < 1:
        raise ConfigError(f"num_experiences must be at least 1, not {num_experiences}")
    items = list(examples)
    if not items:
        return []
    generator = random.Random(seed)
    if order == "by-domain":
        return _by_domain(items, generator)
    if order == "by-class":
        groups = _by_class(items, num_experiences, generator)
    else:
        if order == "shuffled":
            generator.shuffle(items)
        elif order == "by-time":
            items.sort(key=_moment)
        groups = _cut(items, num_experiences, "examples")
    return [Experience(f"experience {number}", tuple(group)) for number, group in enumerate(groups, start=1)]


def _cut(items: Sequence[_Item], num_parts: int, what: str) -> list[list[_Item]]:
    if num_parts > len(items):
        raise ConfigError(f"num_experiences is {num_parts}, but there are only {len(items)} {what}")
    bounds = [len(items) * part // num_parts for part in range(num_parts + 1)]
    return [list(items[begin:end]) for begin, end in itertools.pairwise(bounds)]


def _by_class(items: list[Example], num_experiences: int, generator: random.Random) -> list[list[Example]]:
    by_label = _grouped(items, lambda example: example.target, "target", "by-class")
    labels = list(by_label)
    generator.shuffle(labels)
    experience_of = {
        label: index for index, part in enumerate(_cut(labels, num_experiences, "labels")) for label in part
    }
    groups: list[list[Example]] = [[] for _ in range(num_experiences)]
    for example in items:
        groups[experience_of[example.target or ""]].append(example)
    for group in groups:
        generator.shuffle(group)
    return groups


def _by_domain(items: list[Example], generator: random.Random) -> list[Experience]:
    by_domain = _grouped(items, lambda example: example.domain, "domain", "by-domain")
    domains = list(by_domain)
    generator.shuffle(domains)
    for group in by_domain.values():
        generator.shuffle(group)
    return [Experience(domain, tuple(by_domain[domain])) for domain in domains]


def _grouped(
    items: list[Example], key: Callable[[Example], str | None], what: str, order: Order
) -> dict[str, list[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in items:
        value = key(example)
        if value is None:
            raise InputError(
                f"example {example.id!r} has no {what}, so order {order!r} has no place for it; "
                f"name the field (--{what}-field), remove such examples, or choose another order"
            )
        groups.setdefault(value, []).append(example)
    return dict(sorted(groups.items()))


def _moment(example: Example) -> float:
    if example.time is None:
        raise InputError(
            f"example {example.id!r} has no time, so order 'by-time' has no place for it; "
            "name the field (--time-field), remove such examples, or choose another order"
        )
    time = example.time.strip()
    if time.isdecimal() and len(time) == 4:
        time += "-01"
    if len(time) == 7 and time[4] == "-":
        time += "-01"
    try:
        moment = datetime.datetime.fromisoformat(time)
    except ValueError:
        try:
            seconds = float(time)
        except ValueError:
            seconds = math.nan
        if not math.isfinite(seconds):  # one NaN would leave all others unsorted
            raise InputError(
                f"example {example.id!r} has time {example.time!r}, which is neither ISO 8601 nor a number"
            ) from None
        return seconds
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp()
