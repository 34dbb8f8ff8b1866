"""Looking closely: examples of the journal, why something is predicted, and how the run went."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from everlearn.service.access import Labeller, Operator, Predictor, TheService
from everlearn.service.problems import Problem
from everlearn.service.routes.given import checked_texts
from everlearn.service.schemas_looking import (
    ExamplesResponse,
    ExplainRequest,
    ExplainResponse,
    HistoryResponse,
)

__all__ = ["router"]

router = APIRouter(tags=["looking"])

Tenant = Annotated[str | None, Query(min_length=1, max_length=1_000)]
Given = Annotated[str | None, Query(min_length=1, max_length=1_000)]
Offset = Annotated[int | None, Query(ge=0, le=2**53)]
Limit = Annotated[int, Query(ge=1, le=1_000)]

_RECORDS_AT_ONCE = 512


@router.get("/v1/examples")
async def examples(
    caller: Operator,
    service: TheService,
    tenant: Tenant = None,
    label: Given = None,
    predicted: Given = None,
    role: Literal["learn", "exam", "held", "thinned", "unlearnable"] | None = None,
    text: Given = None,
    field: Annotated[list[str] | None, Query(max_length=20, description="NAME:VALUE")] = None,
    wrong: bool = False,
    first: Offset = None,
    last: Offset = None,
    after: Offset = None,
    newest: bool = True,
    limit: Limit = 50,
) -> ExamplesResponse:
    """Examples, page by page: those of which everything that is given holds.

    ``label`` is the present target, ``predicted`` what was said before learning; ``wrong`` leaves those whose
    prediction differs from their target. ``text`` is looked for in whatever case. ``field`` compares as when
    forgetting. ``first`` and ``last`` are offsets: those that came with a job, say, lie between its two.
    """
    name = caller.tenant(service, tenant)
    told = await service.look(
        "examples",
        name,
        label=label,
        predicted=predicted,
        role=role,
        text=text,
        where=[_pair(one) for one in field or []],
        wrong=wrong,
        first=first,
        last=last,
        after=after,
        newest=newest,
        limit=limit,
    )
    return ExamplesResponse.model_validate({"tenant": name, **told})


@router.get(
    "/v1/examples/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
)
async def export(caller: Operator, service: TheService, tenant: Tenant = None) -> StreamingResponse:
    """All examples as JSON lines, as of everlearn journal export; deletions made later do not reach it."""
    name = caller.tenant(service, tenant)

    async def page(after: int) -> dict[str, Any]:
        return await service.look("records", name, after=after, limit=_RECORDS_AT_ONCE)

    first = await page(0)  # an error is told as such as long as nothing is sent

    async def lines() -> AsyncIterator[bytes]:
        told = first
        while True:
            yield "".join(f"{line}\n" for line in told["lines"]).encode("utf-8", "replace")
            if told["next"] is None:
                return
            told = await page(told["next"])

    return StreamingResponse(
        lines(),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": 'attachment; filename="examples.jsonl"', "Cache-Control": "no-store"},
    )


@router.post("/v1/explain")
async def explain(asked: ExplainRequest, caller: Labeller, service: TheService) -> ExplainResponse:
    """What is said of a text, with learned examples that are like it, and the words that count."""
    checked_texts([asked.text], service.config)
    name = caller.tenant(service, asked.tenant)
    told = await service.look("explain", name, text=asked.text, nearest=asked.nearest, top=asked.top)
    return ExplainResponse.model_validate(
        {
            **service.bears(name, told["by"]),
            "prediction": {"id": None, **told["said"]},
            "nearest": told["nearest"],
            "words": told["words"],
            "words_left_out": told["num_words_left_out"],
        }
    )


@router.get("/v1/history")
async def history(
    caller: Predictor,
    service: TheService,
    points: Annotated[int, Query(ge=1, le=1_000)] = 200,
    tenant: Tenant = None,
) -> HistoryResponse:
    """How the run went, up to now: accuracy, labels, what arrived, and decisions."""
    name = caller.tenant(service, tenant)
    told = await service.look("history", name, points=points)
    return HistoryResponse.model_validate({"tenant": name, **told})


def _pair(given: str) -> list[str]:
    """A field's name and the value that it must have."""
    name, colon, value = given.partition(":")
    if not colon or not name:
        raise Problem("request-invalid", f"field: give NAME:VALUE, not {given!r}")
    return [name, value]
