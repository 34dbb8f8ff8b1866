"""What every answer bears: by what it was made, with the fingerprint of that where it is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Fingerprints"]


class Fingerprints:
    """SHA-256 of what was learned, of tenants' newest states and of their versions."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, str]] = {}
        self._of_versions: dict[str, dict[int, str]] = {}

    def note_newest(self, tenant: str, step: int, fingerprint: str) -> None:
        """That of a tenant's state after a step has been computed."""
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

    def borne(self, tenant: str, by: Mapping[str, Any]) -> dict[str, Any]:
        """What an answer bears.

        Args:
            tenant: Whose.
            by: ``version`` and ``step`` of what made it.
        """
        version, step = by.get("version"), by.get("step", 0)
        if version is not None:
            fingerprint = self._of_versions.get(tenant, {}).get(version)
        else:
            known_step, newest = self._newest.get(tenant, (None, None))
            fingerprint = newest if known_step == step else None
        return {"tenant": tenant, "version": version, "step": step, "fingerprint": fingerprint}
