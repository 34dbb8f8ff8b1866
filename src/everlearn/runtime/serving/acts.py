"""Who asks a service for a change, as the journal notes it: the names of keys, ids, counts; no texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from everlearn.journal.acts import AskedAct
from everlearn.runtime.run import Run
from everlearn.runtime.serving.place import Place
from everlearn.types import Example, Json

__all__ = ["changing", "learning"]

_NOT_NOTED = frozenset({"add", "publish", "remove", "save", "settle"})
"""What changes nothing that is learned, or a hub's tenants, which no journal outlives."""

_NUMBERS = ("approximate", "keep_learned", "max_examples", "readmit", "version")
_LISTS = ("accept", "reject")


@contextmanager
def changing(place: Place, tenant: str, message: Mapping[str, Json]) -> Iterator[None]:
    """Note who makes the change that a message asks for, within the block.

    Raises:
        UnknownTenantError: There is no such tenant.
    """
    author, op = message.get("author"), str(message.get("act", message["op"]))
    if author is None or op in _NOT_NOTED:
        yield
        return
    run: Run
    with place.run(tenant) as run, run.noting([_act_of(str(author), op, message)]):
        yield


def learning(authors: Sequence[str | None], asked: Sequence[Sequence[Example]]) -> list[AskedAct]:
    """Who learns what in a step that several requests bring: one act for each of them.

    Args:
        authors: Of each request; None: the service itself.
        asked: The examples of each.
    """
    ids: dict[str, list[str]] = {}
    for author, examples in zip(authors, asked, strict=True):
        if author is not None:
            ids.setdefault(author, []).extend(example.id for example in examples)
    return [AskedAct(author=author, kind="learn", ids=named) for author, named in ids.items()]


def _act_of(author: str, op: str, message: Mapping[str, Json]) -> AskedAct:
    ids = [id_ for name in ("ids", "targets", *_LISTS) for id_ in message.get(name) or ()]
    detail: dict[str, Json] = {name: message[name] for name in _NUMBERS if message.get(name) is not None}
    detail |= {f"{name}ed": len(message[name]) for name in _LISTS if message.get(name)}
    if op == "forget":
        # What is deleted is not named, nor are the values that somebody was found by.
        detail["asked_ids"] = len(ids)
        if message.get("where"):
            detail["fields"] = sorted({str(pair[0]) for pair in message["where"]})[:20]
        ids = []
    return AskedAct(author=author, kind=op, ids=ids, detail=detail)
