"""Who has changed what: the audit log, which is part of each tenant's journal."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from everlearn.service.access import Operator, TheService
from everlearn.service.schemas_operation import AuditResponse

__all__ = ["router"]

router = APIRouter(tags=["operation"])

Given = Annotated[str | None, Query(min_length=1, max_length=1_000)]


@router.get("/v1/audit")
async def audit(
    caller: Operator,
    service: TheService,
    after: Annotated[int | None, Query(ge=0, le=2**53)] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    kind: Given = None,
    author: Given = None,
    newest: bool = False,
    tenant: Given = None,
) -> AuditResponse:
    """Who has learned, corrected, deleted, rolled back, reviewed: acts behind a number, page by page.

    ``kind`` and ``author`` leave those of one kind, or of one key. The oldest come first; with ``newest`` the
    newest do, and ``after`` is the number that they are before. Acts are noted in the transaction that makes
    the change. Examples that are deleted are not named any more.
    """
    name = caller.tenant(service, tenant)
    told = await service.look("acts", name, after=after, limit=limit, kind=kind, author=author, newest=newest)
    return AuditResponse.model_validate({"tenant": name, **told})
