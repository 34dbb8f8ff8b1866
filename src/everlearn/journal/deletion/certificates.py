"""Deletion certificates in the journal: written together with the deletion, so that no crash loses one.

A certificate is *pending* until everything that it says is so: the state was folded without the examples and
nothing of them is left in the write-ahead log. Then its file is written, which can be done again at any time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from everlearn.journal.checksums import canonical_json, checksum
from everlearn.journal.database import Database
from everlearn.journal.rows.example_rows import verified
from everlearn.types import Json

__all__ = ["CertificateRecord", "Certificates"]


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """A certificate as journaled.

    Attributes:
        revision: The deletion's.
        value: What it says; JSON.
        is_issued: Whether it was issued; else it is pending.
    """

    revision: int
    value: Mapping[str, Json]
    is_issued: bool


class Certificates:
    """The table of certificates.

    Args:
        database: The journal's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[CertificateRecord]:
        """All of them, oldest first."""
        rows = self._database.all("SELECT revision, value, issued, crc FROM certificates ORDER BY revision")
        found = []
        for row in rows:
            revision, value, issued = verified(row, "certificates")
            found.append(CertificateRecord(int(str(revision)), json.loads(str(value)), bool(issued)))
        return found

    def pending(self) -> list[CertificateRecord]:
        """Those that are not issued yet, oldest first."""
        return [certificate for certificate in self.all() if not certificate.is_issued]

    def write(self, record: CertificateRecord) -> None:
        """Write a certificate, in place of one of its revision."""
        values = (record.revision, canonical_json(dict(record.value)), int(record.is_issued))
        self._database.execute(
            "INSERT OR REPLACE INTO certificates VALUES (?,?,?,?)", (*values, checksum(*values))
        )
