"""Encoders that are loaded once, for everything in a process that reads them and changes none."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from everlearn.models.encoder.load import Trunk, load_trunk
from everlearn.models.storage.adapters import load_adapted_trunk
from everlearn.models.storage.dtype import DeviceName, DtypeName

__all__ = ["ModelPool"]


class ModelPool:
    """Gives encoders; each is loaded when it is first asked for, and kept. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._trunks: dict[tuple[str, str, str, str | None], Trunk] = {}

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
                    load_trunk(name, dtype=dtype, device=device)
                    if adapter is None
                    else load_adapted_trunk(name, adapter, dtype=dtype, device=device)
                )
            return self._trunks[key]
