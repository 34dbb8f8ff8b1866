"""Sums of losses on texts, by domain or by groups of examples."""

from __future__ import annotations

from collections.abc import Sequence

from everlearn.types import Example, TextLoss

__all__ = ["LossSums"]


class LossSums:
    """Adds up nats, tokens and bytes.

    Args:
        groups: Examples that are added up together, whatever their domain; None: those of a domain are.
    """

    def __init__(self, groups: Sequence[Sequence[Example]] | None = None) -> None:
        self._groups = groups
        self._group_of = {
            example.id: number for number, group in enumerate(groups or ()) for example in group
        }
        self._sums: dict[int | str | None, tuple[float, int, int]] = {}

    def add(self, example_id: str, domain: str | None, nats: float, tokens: int, num_bytes: int) -> None:
        """Add what was lost on (a part of) an example."""
        key = domain if self._groups is None else self._group_of[example_id]
        before = self._sums.get(key, (0.0, 0, 0))
        self._sums[key] = (before[0] + nats, before[1] + tokens, before[2] + num_bytes)

    def by_domain(self) -> list[TextLoss]:
        """One loss a domain, in the order of their first appearance; domains without tokens have none."""
        assert self._groups is None
        return [
            TextLoss(domain=key, nats=nats, tokens=tokens, bytes=num_bytes)
            for key, (nats, tokens, num_bytes) in self._sums.items()
            if tokens and not isinstance(key, int)
        ]

    def by_group(self) -> list[TextLoss]:
        """One loss a group, in order; a group in which nothing was predicted has one of no tokens."""
        assert self._groups is not None
        found = (self._sums.get(number, (0.0, 0, 0)) for number in range(len(self._groups)))
        return [
            TextLoss(domain=None, nats=nats, tokens=tokens, bytes=num_bytes)
            for nats, tokens, num_bytes in found
        ]
