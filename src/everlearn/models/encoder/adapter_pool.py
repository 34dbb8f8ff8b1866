"""Encoders of which every text may use another adapter, with the weights in memory once."""

from __future__ import annotations

import queue
import weakref
from pathlib import Path
from typing import Any

from everlearn.models.encoder.adapted_coder import AdaptedCoder, OneAdapterCoder
from everlearn.models.encoder.adapter_bank import AdapterBank
from everlearn.models.encoder.coder import CoderConfig, TextCoder
from everlearn.models.encoder.load import Trunk, load_trunk
from everlearn.models.encoder.pool import Load, ModelPool
from everlearn.models.storage.adapters import adapted_sha256, read_adapter, version_of
from everlearn.models.storage.dtype import DeviceName, DtypeName

__all__ = ["AdapterPool"]


class AdapterPool(ModelPool):
    """Gives coders of one trunk that differ by their adapters; ``encode_together`` takes texts of all.

    An adapter is held as long as somebody has a coder that uses it. Nothing is merged: codes are those of
    merged weights but for rounding.

    Args:
        load: Loads an encoder.
    """

    def __init__(self, load: Load = load_trunk) -> None:
        super().__init__(load)
        self._banks: dict[Trunk, _Held] = {}
        self._mixed: dict[tuple[Trunk, CoderConfig], AdaptedCoder] = {}

    def coder(
        self,
        name: str,
        config: CoderConfig,
        *,
        dtype: DtypeName = "auto",
        device: DeviceName = "auto",
        adapter: Path | None = None,
    ) -> TextCoder:
        """See ``ModelPool.coder``."""
        with self._lock:
            trunk = self.trunk(name, dtype=dtype, device=device)
            if trunk not in self._banks:
                self._banks[trunk] = _Held(AdapterBank(trunk))
            held = self._banks[trunk]
            if (trunk, config) not in self._mixed:
                self._mixed[trunk, config] = AdaptedCoder(held.bank, config)
            mixed = self._mixed[trunk, config]
            return mixed if adapter is None else held.coder(mixed, adapter)


class _Held:
    """A bank, and coders by what it holds. One thread at a time."""

    def __init__(self, bank: AdapterBank) -> None:
        self.bank = bank
        self._coders: weakref.WeakValueDictionary[Any, OneAdapterCoder] = weakref.WeakValueDictionary()
        self._users: dict[str, int] = {}
        # Told by coders that nobody has any more; they are found at any moment, also amid a forward pass.
        self._left: queue.SimpleQueue[str] = queue.SimpleQueue()

    def coder(self, mixed: AdaptedCoder, folder: Path) -> OneAdapterCoder:
        """Texts by the adapter that lies in a folder now."""
        key = (mixed, str(folder.resolve()), version_of(folder))
        known = self._coders.get(key)
        if known is not None:
            return known
        with self.bank.turns:
            self._drop_left()
            adapter = read_adapter(folder)
            name = adapted_sha256(self.bank.trunk, adapter)
            if name not in self.bank:
                self.bank.add(name, adapter)
            self._users[name] = self._users.get(name, 0) + 1
        made = self._coders[key] = OneAdapterCoder(mixed, name)
        weakref.finalize(made, self._left.put, name).atexit = False
        return made

    def _drop_left(self) -> None:
        while not self._left.empty():
            name = self._left.get()
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name]
                self.bank.remove(name)
