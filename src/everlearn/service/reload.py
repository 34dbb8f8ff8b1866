"""Other settings for a service that runs: limits and rates are taken up, the rest waits for a restart."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from everlearn.errors import ConfigError
from everlearn.service.service import Service
from everlearn.settings.service import ServiceConfig

__all__ = ["RELOADABLE", "Reloading"]

_LOG = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 1.0

RELOADABLE = frozenset(
    {
        "access_log",
        "keep_predictions_days",
        "log_texts",
        "max_batch",
        "max_body_mb",
        "max_kept_predictions",
        "max_text_chars",
        "max_texts",
        "max_upload_mb",
        "max_waiting_labels",
        "max_waiting_texts",
        "request_seconds",
        "requests_per_minute",
        "timeout_seconds",
    }
)
"""Settings that a service takes up while it runs."""


class Reloading:
    """Reads a service's settings again when a signal (SIGHUP) or the file itself asks for it.

    Args:
        service: The service.
        options: Settings that were given beside the file, which come first.
        file: The file; None: there is none, and nothing to read.
        on_config: Is told the settings that hold from now on.
    """

    def __init__(
        self,
        service: Service,
        options: Mapping[str, Any],
        file: Path | None,
        on_config: Callable[[ServiceConfig], None] = lambda _: None,
    ) -> None:
        self._service = service
        self._options = dict(options)
        self._file = file
        self._on_config = on_config
        self._mark = _mark(file)
        self._watch: asyncio.Task[None] | None = None

    def start(self, *, watches: bool) -> None:
        """Listen to the signal from now on, and (if it is to) look at the file every second."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.reload)
        if watches and self._file is not None:
            self._watch = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Look no more."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    def reload(self) -> None:
        """Read the settings and take up what can be. A wrong file is told of, and changes nothing."""
        if self._file is None:
            _LOG.warning("there is no file of settings to read again: start with --config FILE")
            return
        self._mark = _mark(self._file)
        present = self._service.config
        try:
            given = ServiceConfig.given(self._options, file=self._file)
        except ConfigError as error:
            _LOG.error("%s; the settings are as before", error)
            return
        changed = {
            name for name in type(given).model_fields if getattr(given, name) != getattr(present, name)
        }
        if waiting := sorted(changed - RELOADABLE):
            _LOG.warning("these settings need a restart of the service: %s", ", ".join(waiting))
        taken = {name: getattr(given, name) for name in sorted(changed & RELOADABLE)}
        if taken:
            self._service.configure(present.model_copy(update=taken))
            self._on_config(self._service.config)
            _LOG.info("other settings hold from now on: %s", ", ".join(f"{k}={v}" for k, v in taken.items()))

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            if _mark(self._file) != self._mark:
                self.reload()


def _mark(file: Path | None) -> tuple[int, int, int] | None:
    """What tells a file from the one that was there before; None: there is none."""
    try:
        status = None if file is None else file.stat()
    except OSError:
        return None
    return None if status is None else (status.st_mtime_ns, status.st_ino, status.st_size)
