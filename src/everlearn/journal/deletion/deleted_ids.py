"""What stays of deleted ids: hashes under the journal's own keys, so that they are known when they come."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from hashlib import blake2b
from itertools import islice

from everlearn.journal.database import Database

__all__ = ["DeletedIds"]

_KEYS = "salts"
_DIGESTS_AT_ONCE = 500


class DeletedIds:
    """The ids that were deleted from a journal, without their names.

    Args:
        database: The journal's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def is_empty(self) -> bool:
        """Whether nothing was deleted."""
        return self._database.first("SELECT 1 FROM deleted LIMIT 1") is None

    def digest_of(self, id_: str) -> bytes:
        """What stays of a deleted id: a keyed hash, 16 bytes."""
        return _digest(id_, self._keys()[0])

    def digests_of(self, id_: str) -> list[bytes]:
        """What may stay of an id, under the keys of this journal and of those it took over."""
        return [_digest(id_, key) for key in self._keys()]

    def among(self, ids: Iterable[str]) -> dict[str, str]:
        """Those of the ids that were deleted, and when."""
        if self.is_empty:
            return {}
        keys = self._keys()
        named = ((_digest(id_, key), id_) for id_ in ids for key in keys)
        found = {}
        while some := dict(islice(named, _DIGESTS_AT_ONCE)):
            for digest, time in self._database.all(
                "SELECT d.digest, r.time FROM deleted d JOIN revisions r ON r.revision = d.revision "
                f"WHERE d.digest IN ({', '.join('?' * len(some))})",
                list(some),
            ):
                found[some[digest]] = time
        return found

    def adopt_keys(self, other: DeletedIds) -> None:
        """Take over the keys of another journal, so that its digests are known here."""
        self._keep(dict.fromkeys([*self._keys(), *other._keys()]))

    def _keys(self) -> list[bytes]:
        row = self._database.first("SELECT value FROM meta WHERE key = ?", (_KEYS,))
        if row is None:
            made = [secrets.token_bytes(16)]
            self._keep(made)
            return made
        return [bytes.fromhex(digest) for digest in row[0].split()]

    def _keep(self, keys: Iterable[bytes]) -> None:
        value = " ".join(key.hex() for key in keys)
        self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_KEYS, value))


def _digest(id_: str, key: bytes) -> bytes:
    return blake2b(id_.encode("utf-8", "surrogatepass"), key=key, digest_size=16).digest()
