"""Encoders that are loaded once, for everything in a process that reads them and changes none."""

from __future__ import annotations

from pathlib import Path
from threading import RLock
from typing import Protocol

from everlearn.models.encoder.coder import CoderConfig, TextCoder
from everlearn.models.encoder.load import Trunk, load_trunk
from everlearn.models.storage.adapters import load_adapted_trunk
from everlearn.models.storage.dtype import DeviceName, DtypeName

__all__ = ["ModelPool"]


class Load(Protocol):
    """Loads an encoder, as ``load_trunk`` does."""

    def __call__(self, spec: str, *, dtype: DtypeName, device: DeviceName) -> Trunk:
        """See ``load_trunk``."""
        ...


class ModelPool:
    """Gives encoders; each is loaded when it is first asked for, and kept. Any thread may ask.

    An adapter is merged into weights of its own; see ``AdapterPool`` where many are used.

    Args:
        load: Loads one that has no adapter.
    """

    def __init__(self, load: Load = load_trunk) -> None:
        self._load = load
        self._lock = RLock()
        self._trunks: dict[tuple[str, str, str, str | None], Trunk] = {}
        self._coders: dict[tuple[Trunk, CoderConfig], TextCoder] = {}

    def trunk(
        self,
        name: str,
        *,
        dtype: DtypeName = "auto",
        device: DeviceName = "auto",
        adapter: Path | None = None,
    ) -> Trunk:
        """An encoder, which nobody may change.

        Args:
            name: As of ``load_trunk``.
            dtype: The same.
            device: The same.
            adapter: Folder of an adapter that is merged into its weights; what is there does not change.

        Raises:
            ModelError: It cannot be found or loaded.
        """
        key = (name, dtype, device, None if adapter is None else str(adapter.resolve()))
        with self._lock:
            if key not in self._trunks:
                self._trunks[key] = (
                    self._load(name, dtype=dtype, device=device)
                    if adapter is None
                    else load_adapted_trunk(name, adapter, dtype=dtype, device=device)
                )
            return self._trunks[key]

    def coder(
        self,
        name: str,
        config: CoderConfig,
        *,
        dtype: DtypeName = "auto",
        device: DeviceName = "auto",
        adapter: Path | None = None,
    ) -> TextCoder:
        """What makes codes by an encoder: one for all who ask for the same settings.

        Args:
            name: As of ``trunk``.
            config: Settings.
            dtype: As of ``trunk``.
            device: The same.
            adapter: The same.

        Raises:
            ModelError: As ``trunk``.
            ConfigError: A setting does not fit the encoder.
        """
        with self._lock:
            key = (self.trunk(name, dtype=dtype, device=device, adapter=adapter), config)
            if key not in self._coders:
                self._coders[key] = TextCoder(*key)
            return self._coders[key]
