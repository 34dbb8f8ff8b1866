"""The tenants of a hub on disk: a record and, once something was learned, a run folder each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from everlearn.errors import ConfigError, RunError, StateError
from everlearn.journal.durable_files import fsync_folder, make_folder, storage_errors, write_json
from everlearn.runtime.folder.kept_adapters import keep_adapter
from everlearn.sharing.publication import check_name
from everlearn.types import Json

__all__ = ["TenantRecord", "Tenants"]

_FORMAT = 1
_SUFFIX = ".json"
_ADAPTER = ".adapter"
_GONE = ".gone-"


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRecord:
    """What is recorded of a tenant.

    Attributes:
        name: Its name.
        created: When (ISO 8601, UTC).
        settings: Of its run, beside the hub's, by dotted path.
        max_examples: Most that its run may take; None: no bound.
    """

    name: str
    created: str
    settings: Mapping[str, Json]
    max_examples: int | None


class Tenants:
    """All tenants of a hub.

    Args:
        folder: The hub's.
        is_owner: Whether the hub is open here; others only look.
    """

    def __init__(self, folder: Path, *, is_owner: bool) -> None:
        self._folder, self._records, self._runs = folder, folder / "tenants", folder / "runs"
        if not is_owner:
            return
        with storage_errors(folder):
            make_folder(self._records)
            make_folder(self._runs)
            for left in self._runs.glob(f"{_GONE}*"):  # of a removal that was interrupted
                self._record(left.name.removeprefix(_GONE)).unlink(missing_ok=True)
                shutil.rmtree(left)
            for adapter in self._records.glob(f"*{_ADAPTER}"):
                if adapter.name.removesuffix(_ADAPTER) not in self:
                    shutil.rmtree(adapter)

    def names(self) -> list[str]:
        """All names, sorted; nothing is opened."""
        return sorted(path.name.removesuffix(_SUFFIX) for path in self._records.glob(f"*{_SUFFIX}"))

    def __contains__(self, name: str) -> bool:
        try:
            check_name(name)
        except ConfigError:
            return False
        return self._record(name).is_file()

    def run_folder(self, name: str) -> Path:
        """Where its run is, or will be."""
        return self._runs / name

    def adapter_folder(self, name: str) -> Path | None:
        """The adapter that it was added with; None: it has none."""
        folder = self._adapter(name)
        return folder if folder.is_dir() else None

    def add(
        self, name: str, settings: Mapping[str, Any], max_examples: int | None, adapter: Path | None = None
    ) -> TenantRecord:
        """Record a tenant.

        Args:
            name: Its name.
            settings: See ``TenantRecord``.
            max_examples: The same.
            adapter: Folder of an adapter, which is copied.

        Raises:
            ConfigError: The name is none.
            ModelError: There is no adapter in the folder.
            RunError: There is one of this name.
            StorageError: It cannot be written.
        """
        self.check_new(name)
        if adapter is not None:
            with storage_errors(self._adapter(name)):
                keep_adapter(adapter, self._adapter(name))
        created = datetime.now(UTC).isoformat(timespec="seconds")
        record = TenantRecord(name=name, created=created, settings=dict(settings), max_examples=max_examples)
        self._write(record)
        return record

    def set_quota(self, name: str, max_examples: int | None) -> None:
        """Record another quota of a tenant. Raises as ``record``, and StorageError: it cannot be written."""
        self._write(replace(self.record(name), max_examples=max_examples))

    def check_new(self, name: str) -> None:
        """Whether a tenant of this name can be added. Raises as ``add``."""
        check_name(name)
        if name in self:
            raise RunError(f"{self._folder} has a tenant {name!r} already")
        if self.run_folder(name).exists():
            raise RunError(
                f"{self.run_folder(name)} is there already, and of no tenant: move it, or choose another name"
            )

    def record(self, name: str) -> TenantRecord:
        """What is recorded.

        Raises:
            ConfigError: The name is none.
            RunError: There is no such tenant.
            StateError: Its record is damaged, or of another format version.
        """
        check_name(name)
        path = self._record(name)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            names = self.names()
            known = (
                ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
                or "none"
            )
            raise RunError(f"{self._folder} has no tenant {name!r}; it has: {known}") from None
        except (OSError, ValueError) as error:
            raise StateError(f"{path} cannot be read: {error}; restore it from a backup") from error
        try:
            if values["format"] != _FORMAT:
                raise StateError(f"{path} is of format {values['format']}; this everlearn knows {_FORMAT}")
            return TenantRecord(
                name=name,
                created=str(values["created"]),
                settings=dict(values["settings"]),
                max_examples=None if values["max_examples"] is None else int(values["max_examples"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"{path} is damaged: {error}; restore it from a backup") from error

    def remove(self, name: str) -> None:
        """Delete a tenant, whose run nobody has open, with all that it learned.

        Raises:
            StorageError: It cannot be deleted.
        """
        folder, gone = self.run_folder(name), self._runs / f"{_GONE}{name}"
        with storage_errors(folder):
            if folder.exists():
                folder.rename(gone)  # from here on it is gone, also if this is interrupted
            self._record(name).unlink()
            shutil.rmtree(self._adapter(name), ignore_errors=True)
            fsync_folder(self._records)
            if gone.exists():
                shutil.rmtree(gone)

    def _write(self, record: TenantRecord) -> None:
        values = {
            "format": _FORMAT,
            "created": record.created,
            "settings": dict(record.settings),
            "max_examples": record.max_examples,
        }
        with storage_errors(self._record(record.name)):
            write_json(self._record(record.name), values)

    def _adapter(self, name: str) -> Path:
        return self._records / f"{name}{_ADAPTER}"

    def _record(self, name: str) -> Path:
        return self._records / f"{name}{_SUFFIX}"
