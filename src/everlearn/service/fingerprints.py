"""What every answer bears: by what it was made, with the fingerprint of that where it is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["Fingerprints"]


class Fingerprints:
    """SHA-256 of what was learned, of tenants' newest states and of their versions."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, str]] = {}
        self._of_versions: dict[str, dict[int, str]] = {}
        self._rewrites = Counter[str]()
        self._under_way = Counter[str]()

    @contextmanager
    def rewriting(self, tenant: str) -> Iterator[None]:
        """A block in which a state becomes another one that goes up to the same step, as by a rollback.

        Whatever was looked up before its end is of either.
        """
        self._under_way[tenant] += 1
        self._newest.pop(tenant, None)
        try:
            yield
        finally:
            self._under_way[tenant] -= 1
            self._rewrites[tenant] += 1
            self._newest.pop(tenant, None)
            self.drop_versions(tenant)

    def moment(self, tenant: str) -> int:
        """Stays the same as long as a step says which state is meant; negative: it does not now."""
        return -1 if self._under_way[tenant] else self._rewrites[tenant]

    def note_newest(self, tenant: str, step: int, fingerprint: str, moment: int) -> None:
        """That of a tenant's state after a step has been computed; it was asked for at a moment."""
        if 0 <= moment == self.moment(tenant):
            self._newest[tenant] = step, fingerprint

    def note_versions(self, tenant: str, versions: Iterable[Mapping[str, Any]]) -> None:
        """All versions of a tenant, as they are listed."""
        self._of_versions[tenant] = {one["version"]: one["fingerprint"] for one in versions}

    def knows(self, tenant: str, version: int | None) -> bool:
        """Whether there is nothing to look up for an answer by a version; None: by the newest state."""
        return version is None or version in self._of_versions.get(tenant, ())

    def drop_versions(self, tenant: str) -> None:
        """A tenant's versions may be written anew, as by a deletion."""
        self._of_versions.pop(tenant, None)

    def borne(self, tenant: str, by: Mapping[str, Any], moment: int | None = None) -> dict[str, Any]:
        """What an answer bears.

        Args:
            tenant: Whose.
            by: ``version`` and ``step`` of what made it.
            moment: When it was asked for; None: it is of now.
        """
        version, step = by.get("version"), by.get("step", 0)
        fingerprint: str | None = None
        if version is not None:
            fingerprint = self._of_versions.get(tenant, {}).get(version)
        elif moment is None or 0 <= moment == self.moment(tenant):
            known_step, newest = self._newest.get(tenant, (None, None))
            fingerprint = newest if known_step == step else None
        return {"tenant": tenant, "version": version, "step": step, "fingerprint": fingerprint}
