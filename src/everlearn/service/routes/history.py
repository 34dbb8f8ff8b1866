"""What there was and is: versions, decisions, the journal, figures; and the review queue."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from everlearn.service.access import Labeller, Operator, Predictor, TheService
from everlearn.service.problems import Problem
from everlearn.service.schemas import (
    ReviewItem,
    ReviewRequest,
    ReviewResponse,
    RollbackRequest,
    RollbackResponse,
    SetAsideResponse,
)

__all__ = ["router"]

router = APIRouter(tags=["history"])

Tenant = Annotated[str | None, Query(min_length=1, max_length=1_000)]
Limit = Annotated[int, Query(ge=1, le=1_000)]
Number = Annotated[int, Query(ge=1, le=2**53)]


@router.get("/v1/versions")
async def versions(caller: Predictor, service: TheService, tenant: Tenant = None) -> dict[str, Any]:
    """All versions, which is served, and what the guard has decided."""
    name = caller.tenant(service, tenant)
    return {"tenant": name, **_without_number(await service.look("versions", name))}


@router.get("/v1/diff")
async def diff(
    caller: Operator, service: TheService, first: Number, second: Number, tenant: Tenant = None
) -> dict[str, Any]:
    """What lies between two versions: scores, and examples that only one of them holds."""
    name = caller.tenant(service, tenant)
    return {"tenant": name, **_without_number(await service.look("diff", name, first=first, second=second))}


@router.get("/v1/blame")
async def blame(
    caller: Operator, service: TheService, id: Annotated[str, Query(min_length=1)], tenant: Tenant = None
) -> dict[str, Any]:
    """Where an example came from, and which versions learned it."""
    name = caller.tenant(service, tenant)
    return {"tenant": name, **_without_number(await service.look("blame", name, id=id))}


@router.post("/v1/rollback")
async def rollback(asked: RollbackRequest, caller: Operator, service: TheService) -> RollbackResponse:
    """Serve an earlier version at once, and learn on from there (or, with keep_learned, from the newest).

    Without keep_learned, all that was learned since the version is set aside, which cannot be undone: the
    journal keeps it, but the same examples again are answered with "set_aside", and not learned. To try a
    version first, set keep_learned: then a rollback to null brings everything back.
    """
    name = caller.tenant(service, asked.tenant)
    told = await service.change("rollback", name, version=asked.version, keep_learned=asked.keep_learned)
    service.events.tell("rolled-back", name, version=asked.version, by=caller.name)
    return RollbackResponse.model_validate(told)


@router.get("/v1/rollback")
async def what_a_rollback_takes(
    caller: Operator, service: TheService, version: Number, tenant: Tenant = None
) -> SetAsideResponse:
    """How many examples a rollback to a version, without keep_learned, would set aside. Nothing is done."""
    name = caller.tenant(service, tenant)
    told = await service.look("set_aside", name, version=version)
    return SetAsideResponse(tenant=name, examples_set_aside=told["examples_set_aside"])


@router.get("/v1/review")
async def review_queue(
    caller: Labeller,
    service: TheService,
    kind: Literal["suspicious", "unsure", "unfamiliar", "wrong"] | None = None,
    limit: Limit = 20,
    tenant: Tenant = None,
) -> dict[str, Any]:
    """What a person should look at: suspicious examples; predictions that are unsure, unfamiliar or wrong."""
    name = caller.tenant(service, tenant)
    items: list[ReviewItem] = []
    if kind in (None, "suspicious"):
        told = await service.look("flagged", name, limit=limit)
        items += [
            ReviewItem(
                id=one["id"],
                kind="suspicious",
                text=one["text"],
                predicted=one["predicted"],
                target=one["target"],
                score=one["score"],
                reason=one["reason"],
            )
            for one in told["flagged"]
        ]
    for by in ("wrong", "unfamiliar", "unsure"):
        if kind in (None, by):
            items += [
                ReviewItem.model_validate(
                    {
                        "id": one.id,
                        "kind": by,
                        "text": one.text,
                        "predicted": one.label,
                        "score": one.outlier_score if by == "unfamiliar" else one.probability,
                    }
                )
                for one in await service.remembered.to_review(name, by=by, limit=limit)
            ]
    seen: set[str] = set()
    distinct = [one for one in items if not (one.id in seen or seen.add(one.id))]  # type: ignore[func-returns-value]
    return {"tenant": name, "items": [one.model_dump() for one in distinct[:limit]]}


@router.post("/v1/review")
async def review(asked: ReviewRequest, caller: Labeller, service: TheService) -> ReviewResponse:
    """Decide on what is in the review queue. A prediction gets its target by /v1/feedback."""
    name = caller.tenant(service, asked.tenant)
    if not (asked.accept or asked.reject or asked.readmit or asked.dismiss):
        raise Problem("request-invalid", "give accept, reject, readmit or dismiss")
    dismissed = 0
    for id_ in asked.dismiss:
        one = await service.remembered.get(id_)
        if one is None or one.tenant != name:
            raise Problem("prediction-unknown", f"no prediction {id_!r} is remembered")
        if one.verdict is None or one.target is None:
            await service.remembered.decide(one, "dismissed", None)
            dismissed += 1
    if not (asked.accept or asked.reject or asked.readmit):
        return ReviewResponse(**service.bears(name, {}), dismissed=dismissed)
    told = await service.change(
        "review", name, accept=asked.accept, reject=asked.reject, readmit=asked.readmit
    )
    service.events.tell("reviewed", name, by=caller.name)
    return ReviewResponse.model_validate(told | {"dismissed": dismissed})


@router.get("/v1/journal")
async def journal(
    caller: Operator, service: TheService, steps: Limit = 10, tenant: Tenant = None
) -> dict[str, Any]:
    """What the journal holds, with its newest steps."""
    name = caller.tenant(service, tenant)
    return {"tenant": name, **_without_number(await service.look("journal", name, steps=steps))}


@router.get("/v1/stats")
async def stats(caller: Predictor, service: TheService, tenant: Tenant = None) -> dict[str, Any]:
    """The run's figures, by the names of everlearn learn --json."""
    name = caller.tenant(service, tenant)
    told = await service.look("stats", name)
    return {"tenant": name, **told["stats"]}


@router.get("/v1/fingerprint")
async def fingerprint(caller: Predictor, service: TheService, tenant: Tenant = None) -> dict[str, Any]:
    """SHA-256 of what is learned, computed now: the same for the same examples, in any order."""
    name = caller.tenant(service, tenant)
    return {"tenant": name, **_without_number(await service.fingerprint(name))}


def _without_number(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in ("to", "by", "published")}
