"""The service as a process: it listens, and stops when it is told to."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from everlearn.errors import ConfigError
from everlearn.log_lines import LogLines, prepare_logs
from everlearn.service.app import create_app
from everlearn.service.connections import bounded
from everlearn.service.logs import RequestIds
from everlearn.service.reload import Reloading
from everlearn.service.service import Service
from everlearn.settings.service import ServiceConfig

__all__ = ["serve"]

_SECONDS_TO_STOP = 20
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    place: Path,
    config: ServiceConfig,
    on_ready: Callable[[str], None] = lambda _: None,
    *,
    options: Mapping[str, Any] | None = None,
    file: Path | None = None,
    watches_file: bool = False,
) -> None:
    """Serve a run or a hub until a signal (SIGINT, SIGTERM) says to stop.

    Args:
        place: Its folder.
        config: Settings.
        on_ready: Is told the address when everything can be asked.
        options: Settings that were given beside a file, which come first when it is read again.
        file: The file of settings, which is read again at SIGHUP; None: there is none.
        watches_file: Read it again also when it changes.

    Raises:
        ConfigError: The address is for others, too, and there are no keys; or it cannot be listened on.
        RunError: There is neither run nor hub, or another process has it.
        MissingExtraError: Traces are to be sent, and OpenTelemetry is not installed.
    """
    lines = prepare_logs(config.log_format, texts=config.log_texts)
    for handler in logging.getLogger().handlers:
        handler.addFilter(RequestIds())
    service = Service(place, config)
    if config.host not in _LOOPBACK and not len(service.keys):
        raise ConfigError(
            f"--host {config.host} can be reached by others, and there are no keys: make one first "
            f"(everlearn keys add {place} NAME --role admin)"
        )
    listener, log, told = _listener(config), logging.getLogger("uvicorn.error"), _Told(service)
    log.addFilter(told)
    try:
        server = _Server(service, on_ready)
        server.reloading = Reloading(service, options or {}, file, server.configured(lines))
        server.watches_file = watches_file
        server.run(sockets=[listener])
    except SystemExit:  # by which uvicorn ends where an application cannot start
        if service.failure is None:
            raise
    finally:
        log.removeFilter(told)
    if service.failure is not None:
        raise service.failure


class _Told(logging.Filter):
    """Passes over what uvicorn says of a service that could not start: it is raised, and told once."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        return self._service.failure is None


class _Server(uvicorn.Server):
    """Uvicorn's, which tells the service at once that it is to stop: listeners to events would hold it up."""

    reloading: Reloading | None = None
    watches_file = False

    def __init__(self, service: Service, on_ready: Callable[[str], None]) -> None:
        self._app = create_app(service)
        super().__init__(
            uvicorn.Config(
                service.spans.traced(self._app),
                http=bounded(service.config.request_seconds),
                ws="none",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=_SECONDS_TO_STOP,
                server_header=False,
            )
        )
        self._service = service
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, when the application is ready."""
        await super().startup(sockets)
        if self.started and self.reloading is not None:
            self.reloading.start(watches=self.watches_file)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            self._on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, when what is under way is finished."""
        if self.reloading is not None:
            await self.reloading.stop()
        await super().shutdown(sockets)
        self._service.spans.close()

    def configured(self, lines: LogLines) -> Callable[[ServiceConfig], None]:
        """What goes by other settings from now on, beside the service."""

        def told(config: ServiceConfig) -> None:
            self._app.state.rate_limit.per_minute = config.requests_per_minute
            lines.texts = config.log_texts

        return told

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal says to stop: once what is under way is finished, a second time at once.

        (Uvicorn's own would end the process by the signal afterwards, as if it had not been dealt with.)
        """
        self.force_exit = self.should_exit
        self.should_exit = True
        self._service.begin_to_stop()


def _listener(config: ServiceConfig) -> socket.socket:
    try:
        family, *_ = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((config.host, config.port), family=family, backlog=2_048)
    except OSError as error:
        raise ConfigError(
            f"{config.host}:{config.port} cannot be listened on: {error.strerror or error}; "
            "give another --port"
        ) from error
