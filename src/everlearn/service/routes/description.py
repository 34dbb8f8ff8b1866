"""The API's description as a page, for people; ``/openapi.json`` has it for programs."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request, Response

from everlearn.service.description_page import PAGE_POLICY, description_page

__all__ = ["router"]

router = APIRouter()

_HERE = "http://localhost:8600"
_MARK = "http://service.invalid"
_ADDRESS = re.compile(r"https?://(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?")


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """What can be asked, with a ready line for each, by the address that the page was asked at."""
    state = request.app.state
    if not hasattr(state, "description_page"):  # the same for all, but for the address
        state.description_page = description_page(request.app.openapi(), _MARK)
    address = str(request.base_url).rstrip("/")
    content = state.description_page.replace(_MARK, address if _ADDRESS.fullmatch(address) else _HERE)
    headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"}
    return Response(content, media_type="text/html", headers=headers)
