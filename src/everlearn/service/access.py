"""Who asks, and whether they may: by key, role and tenant, and not too often."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from everlearn.service.author import AUTHOR
from everlearn.service.keys import ROLES, Key, Keys, Role
from everlearn.service.origin import SAFE_METHODS, is_loopback, refuse_foreign_host, refuse_foreign_origin
from everlearn.service.problems import Problem
from everlearn.service.service import Service
from everlearn.service.sessions import CSRF_HEADER, Session, Sessions, cookie_name

__all__ = [
    "Admin",
    "Caller",
    "Labeller",
    "Operator",
    "Predictor",
    "RateLimit",
    "TheService",
    "authenticated",
    "service_of",
    "session_of",
    "sessions_of",
]

_BEARER = HTTPBearer(auto_error=False, description="A key that everlearn keys add has made.")
_MOST_CALLERS = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        name: The key's name; where there are no keys, "anybody".
        role: What they may do.
        tenants: For which tenants; None: all.
    """

    name: str
    role: Role
    tenants: tuple[str, ...] | None

    def tenant(self, service: Service, name: str | None) -> str:
        """The tenant that is meant, if they may ask it.

        Raises:
            Problem: There is none such, or the key is not for it (whether there is one or not).
        """
        if name is None and self.tenants is not None and len(self.tenants) == 1:
            name = self.tenants[0]
        if name is not None and self.tenants is not None and name not in self.tenants:
            raise Problem("tenant-forbidden", f"the key {self.name!r} is not for the tenant {name!r}")
        return service.tenant_of(name)

    def sees(self, tenant: str | None) -> bool:
        """Whether they may know what concerns a tenant."""
        return self.tenants is None or tenant is None or tenant in self.tenants


class RateLimit:
    """A bucket of tokens for each caller, which fills up at a rate and holds those of a minute.

    Args:
        per_minute: The rate; None: no bound. May be changed at any time.
        clock: Seconds of a clock that only goes forward, whatever the time of day is set to.
    """

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float | None:
        """Take a token; None: there was one, else the seconds until there is."""
        if self.per_minute is None:
            return None
        now, rate, most = self._clock(), self.per_minute / 60, max(1.0, self.per_minute)
        left, last = self._buckets.pop(caller, (most, now))
        left = min(most, left + (now - last) * rate)
        is_one = left >= 1
        self._buckets[caller] = (left - 1 if is_one else left), now
        while len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)
        return None if is_one else (1 - left) / rate


def service_of(request: Request) -> Service:
    """The service that a request is for."""
    service: Service = request.app.state.service
    return service


def sessions_of(request: Request) -> Sessions:
    """The sign-ins of the service that a request is for."""
    sessions: Sessions = request.app.state.sessions
    return sessions


def session_of(request: Request) -> Session | None:
    """The sign-in whose cookie a request brings; None: it brings none, or that has ended."""
    token = request.cookies.get(cookie_name(request))
    return None if token is None else sessions_of(request).find(token)


def authenticated(request: Request, given: str | None, role: Role) -> Caller:
    """Who is asking, as a key says, or the cookie of a sign-in with one.

    Args:
        request: What is asked.
        given: The key; None: there may be a sign-in.
        role: That they need.

    Raises:
        Problem: A key is needed, or it is not known, has expired, or has not the role; they ask too often; or
            another site's page has sent the request.
    """
    service, limit = service_of(request), request.app.state.rate_limit
    address = request.client.host if request.client is not None else "?"
    service.keys.refresh()
    if not len(service.keys):
        if service.keys.were_there or not is_loopback(service.config.host):
            # The last key was removed meanwhile: that lets nobody in who was kept out.
            raise Problem("key-missing", "there are no keys any more; make one, or start the service again")
        refuse_foreign_host(request)
        refuse_foreign_origin(request)
        caller, who = Caller("anybody", "admin", None), address
    else:
        try:
            key = _key_of_session(request, service.keys) if given is None else _key_given(given, service.keys)
        except Problem:
            _limited(limit, address)
            raise
        if key.has_expired:
            raise Problem("key-expired", f"the key {key.name!r} has expired on {key.expires}")
        caller, who = Caller(key.name, key.role, key.tenants), key.name
    _limited(limit, who)
    if ROLES.index(caller.role) < ROLES.index(role):
        raise Problem("role-too-low", f"this needs the role {role!r}; the key has {caller.role!r}")
    AUTHOR.set(caller.name)
    return caller


def _key_given(given: str, keys: Keys) -> Key:
    key = keys.find(given)
    if key is None:
        raise Problem("key-unknown", "there is no such key")
    return key


def _key_of_session(request: Request, keys: Keys) -> Key:
    if cookie_name(request) not in request.cookies:
        raise Problem("key-missing", "this service answers only to who has a key")
    session = session_of(request)
    key = None if session is None else keys.of_hash(session.key_sha256)
    if session is None or key is None:
        raise Problem("session-ended", "the sign-in has ended, or its key has been removed")
    if request.method not in SAFE_METHODS and not session.is_csrf_token(request.headers.get(CSRF_HEADER)):
        raise Problem("csrf-missing", f"{request.method} by a sign-in needs the header {CSRF_HEADER}")
    return key


def _limited(limit: RateLimit, who: str) -> None:
    seconds = limit.take(who)
    if seconds is not None:
        raise Problem(
            "too-many-requests", f"{limit.per_minute:g} requests a minute are allowed", retry_after=seconds
        )


def _who_may(role: Role) -> Callable[..., Coroutine[Any, Any, Caller]]:
    async def caller(
        request: Request,
        given: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)] = None,
    ) -> Caller:
        return authenticated(request, None if given is None else given.credentials, role)

    return caller


Predictor = Annotated[Caller, Depends(_who_may("predict"))]
Labeller = Annotated[Caller, Depends(_who_may("label"))]
Operator = Annotated[Caller, Depends(_who_may("operate"))]
Admin = Annotated[Caller, Depends(_who_may("admin"))]
TheService = Annotated[Service, Depends(service_of)]
