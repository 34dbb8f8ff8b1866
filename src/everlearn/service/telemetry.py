"""Traces for OpenTelemetry: a span for each request, each batch of texts, and each learning of labels.

On where ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set; everything else about it is set as OpenTelemetry says, by its
own variables. A span has no text and no key.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from everlearn.errors import MissingExtraError
from everlearn.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["RequestSpans", "Silent", "Spans", "spans_as_told"]

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_EXTRA = "telemetry"

Attributes = Mapping[str, str | int | float]


class Spans(ABC):
    """Tells of what takes time."""

    @abstractmethod
    def span(self, name: str, attributes: Attributes) -> AbstractContextManager[None]:
        """A block that takes time; within that of a request, a part of it."""

    @abstractmethod
    def ended(self, name: str, seconds: float, attributes: Attributes) -> None:
        """Something that has just ended, after so long."""

    @abstractmethod
    def traced(self, app: ASGIApp) -> ASGIApp:
        """An application whose requests are told of."""

    @abstractmethod
    def close(self) -> None:
        """Send what is left."""


class Silent(Spans):
    """Nobody listens."""

    def span(self, name: str, attributes: Attributes) -> AbstractContextManager[None]:
        """See Spans."""
        return nullcontext()

    def ended(self, name: str, seconds: float, attributes: Attributes) -> None:
        """See Spans."""

    def traced(self, app: ASGIApp) -> ASGIApp:
        """See Spans."""
        return app

    def close(self) -> None:
        """See Spans."""


class _Told(Spans):
    """Spans that OpenTelemetry sends.

    Args:
        provider: Makes and sends them.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("everlearn", __version__)

    @contextmanager
    def span(self, name: str, attributes: Attributes) -> Iterator[None]:
        """See Spans."""
        # What went wrong may cite texts: only that something did is told, by the request's status.
        with self._tracer.start_as_current_span(
            name, attributes=dict(attributes), record_exception=False, set_status_on_exception=False
        ):
            yield

    def ended(self, name: str, seconds: float, attributes: Attributes) -> None:
        """See Spans."""
        now = time.time_ns()
        span = self._tracer.start_span(name, attributes=dict(attributes), start_time=now - int(seconds * 1e9))
        span.end(now)

    def traced(self, app: ASGIApp) -> ASGIApp:
        """See Spans."""
        return RequestSpans(app, self._provider)

    def close(self) -> None:
        """See Spans."""
        self._provider.shutdown()


class RequestSpans:
    """Makes a span of each request, a part of the caller's trace where it brings one (``traceparent``).

    Args:
        app: What is behind it.
        provider: Makes and sends spans.
    """

    def __init__(self, app: ASGIApp, provider: TracerProvider) -> None:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._tracer = provider.get_tracer("everlearn", __version__)
        self._kind = SpanKind.SERVER
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        brought = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self._tracer.start_as_current_span(
            scope["method"],
            context=self._propagator.extract(brought),
            kind=self._kind,
            attributes={"http.request.method": scope["method"]},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            async def listened(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            try:
                await self._app(scope, receive, listened)
            finally:
                route = getattr(scope.get("route"), "path", "other")
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)


def spans_as_told(environment: Mapping[str, str] = os.environ) -> Spans:
    """Spans, if the environment says where they are to be sent.

    Raises:
        MissingExtraError: It does, and OpenTelemetry is not installed.
    """
    if not environment.get(_ENDPOINT):
        return Silent()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingExtraError("opentelemetry-exporter-otlp-proto-http", _EXTRA) from error
    named = {} if environment.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "everlearn"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return _Told(provider)
