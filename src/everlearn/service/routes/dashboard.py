"""The dashboard: its page at ``/``, the files of it, and signing in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, StringConstraints

from everlearn.service.access import Caller, Predictor, authenticated, service_of, session_of, sessions_of
from everlearn.service.asked_body import AskedBody
from everlearn.service.keys import Role
from everlearn.service.origin import refuse_foreign_origin
from everlearn.service.problems import Problem
from everlearn.service.sessions import SESSION_SECONDS, Session, cookie_name

__all__ = ["router"]

router = APIRouter(tags=["dashboard"])

_FOLDER = Path(__file__).resolve().parents[1] / "dashboard"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str


def _read(path: Path) -> _File:
    content = path.read_bytes()
    return _File(content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


_FILES: Mapping[str, _File] = {
    path.relative_to(_FOLDER).as_posix(): _read(path)
    for path in sorted(_FOLDER.rglob("*"))
    if path.suffix in _TYPES
}
"""All there are, by name: what is asked is looked up here, never on the disk."""


@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """The dashboard."""
    return _answer(request, _FILES["index.html"])


@router.get("/dashboard/{name:path}", include_in_schema=False)
async def file(request: Request, name: str) -> Response:
    """A file of the dashboard."""
    found = _FILES.get(name)
    if found is None:
        raise Problem("not-found", "the dashboard has no such file")
    return _answer(request, found)


def _answer(request: Request, file: _File) -> Response:
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache", "ETag": file.etag}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


class SessionRequest(AskedBody, BaseModel):
    """A sign-in."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    key: Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
    """The key that everlearn keys add has made."""


class SessionResponse(BaseModel):
    """Who is signed in."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    """The key's; "anybody" where there are no keys."""
    role: Role
    tenants: list[str] | None
    """For which tenants; null: all."""
    needs_key: bool
    """Whether the service has keys, so that one signs in and out."""
    csrf_token: str | None
    """What requests that change something bring as X-CSRF-Token; null: they were not asked by a cookie."""


class SignedOut(BaseModel):
    """What signing out did."""

    ended: bool
    """Whether there was a sign-in."""


@router.post("/v1/session")
async def sign_in(asked: SessionRequest, request: Request, response: Response) -> SessionResponse:
    """Sign in with a key: a cookie stands for it, for twelve hours at most."""
    refuse_foreign_origin(request)
    caller = authenticated(request, asked.key, "predict")
    key = service_of(request).keys.find(asked.key)
    if key is None:  # there are no keys, so nothing to sign in to
        return _told(request, caller, None)
    sessions = sessions_of(request)
    before = request.cookies.get(cookie_name(request))
    if before is not None:
        sessions.close(before)
    token, session = sessions.open(key.sha256)
    response.set_cookie(
        cookie_name(request),
        token,
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return _told(request, caller, session)


@router.get("/v1/session")
async def who(request: Request, caller: Predictor) -> SessionResponse:
    """Who I am, what I may do, and what requests that change something must bring."""
    return _told(request, caller, session_of(request))


@router.delete("/v1/session")
async def sign_out(
    request: Request,
    response: Response,
    caller: Predictor,
) -> SignedOut:
    """Sign out. A key that is sent with each request has nothing to sign out of."""
    token = request.cookies.get(cookie_name(request))
    response.delete_cookie(cookie_name(request), httponly=True, samesite="strict")
    return SignedOut(ended=token is not None and sessions_of(request).close(token))


def _told(request: Request, caller: Caller, session: Session | None) -> SessionResponse:
    return SessionResponse(
        name=caller.name,
        role=caller.role,
        tenants=None if caller.tenants is None else list(caller.tenants),
        needs_key=len(service_of(request).keys) > 0,
        csrf_token=None if session is None else session.csrf_token,
    )
