"""The service itself: what happens, figures, and whether it is well."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from everlearn.service.access import Operator, TheService
from everlearn.service.problems import KINDS, Problem
from everlearn.version import __version__

__all__ = ["router"]

router = APIRouter(tags=["operation"])

_HEARTBEAT_SECONDS = 15.0


@router.get("/v1/events")
async def events(
    caller: Operator,
    service: TheService,
    last_event_id: Annotated[int | None, Header(ge=0)] = None,
) -> StreamingResponse:
    """What happens, as server-sent events; with Last-Event-ID also what was missed."""

    async def told() -> AsyncIterator[bytes]:
        yield b": everlearn\n\n"
        async for event in service.events.listen(last_event_id, _HEARTBEAT_SECONDS):
            if event is None:
                yield b": still here\n\n"
            elif caller.sees(event["tenant"]):
                text = json.dumps(event, ensure_ascii=False)
                yield f"id: {event['id']}\nevent: {event['kind']}\ndata: {text}\n\n".encode()

    return StreamingResponse(told(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@router.get("/v1/service")
async def about(caller: Operator, service: TheService) -> dict[str, Any]:
    """The service: its version, its processes, and what waits."""
    return {
        "everlearn": __version__,
        "processes": service.process_ids(),
        "workers_ready": service.workers.num_ready,
        "learner_ready": service.learner.is_ready,
        "waiting_texts": service.workers.num_waiting,
        "waiting_labels": service.learner.num_waiting,
        "remembered_predictions": await service.remembered.count(),
    }


@router.get("/metrics", response_class=Response)
async def metrics(caller: Operator, service: TheService) -> Response:
    """Figures for Prometheus."""
    await service.measure()
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/healthz")
async def health() -> dict[str, str]:
    """Whether the service runs."""
    return {"status": "ok"}


@router.get("/readyz")
async def ready(service: TheService) -> dict[str, str]:
    """Whether it can predict and learn; 503 where it cannot at the moment."""
    if service.is_stopping or not service.learner.is_ready or not service.workers.num_ready:
        raise Problem("stopping" if service.is_stopping else "process-lost", "not ready", retry_after=1)
    return {"status": "ready"}


@router.get("/problems/{code}", response_class=HTMLResponse)
async def problem(code: str) -> str:
    """What a kind of problem is, and what to do about it."""
    kind = KINDS.get(code)
    if kind is None:
        raise Problem("not-found", "there is no such kind of problem")
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{code}</title>"
        f"<h1>{kind.title}</h1><p><code>{code}</code>, status {kind.status}</p><p>{kind.remedy}</p></html>"
    )
