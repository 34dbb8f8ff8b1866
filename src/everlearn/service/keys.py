"""API keys: who may do what. Only their hashes are stored.

A key is 256 random bits, so one SHA-256 of it can be stored: nothing is gained by hashing it slowly, as there
is nothing to guess.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from everlearn.errors import ConfigError, StateError, StorageError

__all__ = ["KEYS_FILE", "ROLES", "Key", "Keys", "Role", "add_key", "read_keys", "remove_key"]

Role = Literal["predict", "label", "operate", "admin"]
"""``predict``: ask. ``label``: also learn, correct, review. ``operate``: also forget, roll back, look at
everything. ``admin``: also tenants."""

ROLES: tuple[Role, ...] = get_args(Role)

KEYS_FILE = "keys.json"
_PREFIX = "el_"
_LOCK = ".keys.lock"
_LOG = logging.getLogger(__name__)
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is stored of a key.

    Attributes:
        name: Whose it is.
        role: What it may do.
        tenants: For which tenants; None: all.
        sha256: Of the key (hex).
        made: When (ISO 8601).
        expires: When it ends; None: never.
    """

    name: str
    role: Role
    tenants: tuple[str, ...] | None
    sha256: str
    made: str
    expires: str | None = None

    @property
    def has_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and datetime.fromisoformat(self.expires) <= datetime.now(UTC)


class Keys:
    """The keys of a service, read again when their file has changed.

    Args:
        folder: The service's.

    Raises:
        StateError: Their file is damaged.

    Attributes:
        were_there: Whether there were any since this was made: who removes the last lets nobody in.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / KEYS_FILE
        self._known_as = _mark(self._path)
        self._keys = read_keys(folder)
        self.were_there = bool(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def refresh(self) -> None:
        """Read the file again, if it is another one. Where that is damaged, the keys stay as they were."""
        mark = _mark(self._path)
        if mark == self._known_as:
            return
        self._known_as = mark  # a damaged file is read and told of once
        try:
            self._keys = read_keys(self._path.parent)
        except StateError as error:
            _LOG.error("%s; until then the keys are those of before", error)
        self.were_there |= bool(self._keys)

    def find(self, given: str) -> Key | None:
        """The key that was given; None: there is none such. Takes as long whichever it is."""
        digest = _digest(given)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found

    def of_hash(self, sha256: str) -> Key | None:
        """The key that a session stands for, by its hash; None: it has been removed."""
        return next((key for key in self._keys if key.sha256 == sha256), None)


def read_keys(folder: Path) -> list[Key]:
    """All keys. Raises StateError where their file is damaged."""
    path = folder / KEYS_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != _FORMAT:
            raise ValueError(f"it is of format {values['format']}; this everlearn knows {_FORMAT}")
        return [_key_of(one) for one in values["keys"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(
            f"{path} cannot be read: {error}; restore it, or delete it and make new keys"
        ) from error


def add_key(
    folder: Path,
    name: str,
    role: Role,
    *,
    tenants: Sequence[str] | None = None,
    expires_days: float | None = None,
) -> str:
    """Make a key, and return it; it is nowhere else to be found.

    Args:
        folder: The service's.
        name: Whose it is; in the audit log.
        role: What it may do.
        tenants: For which tenants; None: all.
        expires_days: How long it holds; None: for ever.

    Raises:
        ConfigError: There is a key of this name, or the role is none.
        StorageError: It cannot be written.
    """
    if role not in ROLES:
        raise ConfigError(f"role must be one of {', '.join(ROLES)}, not {role!r}")
    if not name.strip() or not name.isprintable():
        raise ConfigError(f"{name!r} is no name for a key: give printable text")
    given = f"{_PREFIX}{secrets.token_urlsafe(32)}"
    now = datetime.now(UTC)
    expires = None if expires_days is None else (now + timedelta(days=expires_days)).isoformat()
    key = Key(
        name=name,
        role=role,
        tenants=None if tenants is None else tuple(tenants),
        sha256=_digest(given),
        made=now.isoformat(timespec="seconds"),
        expires=expires,
    )
    with _alone(folder):
        keys = read_keys(folder)
        if any(one.name == name for one in keys):
            raise ConfigError(f"there is a key named {name!r}; remove it first (everlearn keys remove)")
        _write(folder, [*keys, key])
    return given


def remove_key(folder: Path, name: str) -> None:
    """Let a key be of no use any more. Raises ConfigError where there is none of this name."""
    with _alone(folder):
        keys = read_keys(folder)
        left = [key for key in keys if key.name != name]
        if len(left) == len(keys):
            raise ConfigError(
                f"there is no key named {name!r}; there are: {', '.join(k.name for k in keys) or 'none'}"
            )
        _write(folder, left)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for others who change the keys: of two at once, neither may lose what the other has made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("a")
    except OSError as error:
        raise StorageError(f"{folder / _LOCK} cannot be written: {error}; the keys are as before") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(folder: Path, keys: Sequence[Key]) -> None:
    path = folder / KEYS_FILE
    values = {
        "format": _FORMAT,
        "keys": [{name: getattr(key, name) for name in Key.__slots__} for key in keys],
    }
    temporary = path.with_name(f".{path.name}.new")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as file:
            json.dump(values, file, indent=2, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}; the keys are as before") from error


def _key_of(one: Any) -> Key:
    """A key of the file. Raises ValueError and others where it is none."""
    key = Key(**{**one, "tenants": None if one["tenants"] is None else tuple(one["tenants"])})
    if key.role not in ROLES or len(bytes.fromhex(key.sha256)) != hashlib.sha256().digest_size:
        raise ValueError(f"the key {key.name!r} has no role or no hash")
    if key.expires is not None and datetime.fromisoformat(key.expires).tzinfo is None:
        raise ValueError(f"the key {key.name!r} ends at a time without a zone")
    return key


def _mark(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from the one that was there before; None: there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _digest(given: str) -> str:
    return hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()
