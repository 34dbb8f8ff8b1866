"""Who has changed what: the audit log, which is part of each tenant's journal."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from everlearn.service.access import Operator, TheService

__all__ = ["router"]

router = APIRouter(tags=["operation"])


@router.get("/v1/audit")
async def audit(
    caller: Operator,
    service: TheService,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    tenant: Annotated[str | None, Query(min_length=1, max_length=1_000)] = None,
) -> dict[str, Any]:
    """Who has learned, corrected, deleted, rolled back, reviewed: acts behind a number, oldest first.

    They are noted in the transaction that makes the change. Examples that are deleted are not named any more.
    """
    name = caller.tenant(service, tenant)
    told = await service.look("acts", name, after=after, limit=limit)
    return {"tenant": name, "acts": told["acts"]}
