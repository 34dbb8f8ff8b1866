"""The service as a process: it listens, and stops when it is told to."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

from everlearn.errors import ConfigError
from everlearn.service.app import create_app
from everlearn.service.service import Service
from everlearn.settings.service import ServiceConfig

__all__ = ["serve"]

_SECONDS_TO_STOP = 20
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(place: Path, config: ServiceConfig, on_ready: Callable[[str], None] = lambda _: None) -> None:
    """Serve a run or a hub until a signal (SIGINT, SIGTERM) says to stop.

    Args:
        place: Its folder.
        config: Settings.
        on_ready: Is told the address when everything can be asked.

    Raises:
        ConfigError: The address is for others, too, and there are no keys; or it cannot be listened on.
        RunError: There is neither run nor hub, or another process has it.
    """
    service = Service(place, config)
    if config.host not in _LOOPBACK and not len(service.keys):
        raise ConfigError(
            f"--host {config.host} can be reached by others, and there are no keys: make one first "
            f"(everlearn keys add {place} NAME --role admin)"
        )
    listener, log, told = _listener(config), logging.getLogger("uvicorn.error"), _Told(service)
    log.addFilter(told)
    try:
        _Server(service, on_ready).run(sockets=[listener])
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

    def __init__(self, service: Service, on_ready: Callable[[str], None]) -> None:
        super().__init__(
            uvicorn.Config(
                create_app(service),
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
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            self._on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")

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
