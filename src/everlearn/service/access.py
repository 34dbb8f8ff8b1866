"""Who asks, and whether they may: by key, role and tenant, and not too often."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from everlearn.service.keys import ROLES, Role
from everlearn.service.problems import Problem
from everlearn.service.service import Service

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
        per_minute: The rate; None: no bound.
    """

    def __init__(self, per_minute: float | None) -> None:
        self.per_minute = per_minute
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float | None:
        """Take a token; None: there was one, else the seconds until there is.

        Time is that of a clock that only goes forward.
        """
        if self.per_minute is None:
            return None
        now, rate = time.monotonic(), self.per_minute / 60
        left, last = self._buckets.pop(caller, (self.per_minute, now))
        left = min(self.per_minute, left + (now - last) * rate)
        if left < 1:
            self._buckets[caller] = left, now
            return (1 - left) / rate
        self._buckets[caller] = left - 1, now
        while len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)
        return None


def service_of(request: Request) -> Service:
    """The service that a request is for."""
    service: Service = request.app.state.service
    return service


def authenticated(request: Request, given: str | None, role: Role) -> Caller:
    """Who a key says is asking.

    Args:
        request: What is asked.
        given: The key.
        role: That they need.

    Raises:
        Problem: A key is needed, or it is not known, has expired, or has not the role; or they ask too often.
    """
    service, limit = service_of(request), request.app.state.rate_limit
    address = request.client.host if request.client is not None else "?"
    service.keys.refresh()
    if not len(service.keys):
        caller = Caller("anybody", "admin", None)
    elif given is None:
        _limited(limit, address)
        raise Problem("key-missing", "this service answers only to who has a key")
    else:
        key = service.keys.find(given)
        if key is None:
            _limited(limit, address)
            raise Problem("key-unknown", "there is no such key")
        if key.has_expired:
            raise Problem("key-expired", f"the key {key.name!r} has expired on {key.expires}")
        caller = Caller(key.name, key.role, key.tenants)
    _limited(limit, caller.name if given is not None else address)
    if ROLES.index(caller.role) < ROLES.index(role):
        raise Problem("role-too-low", f"this needs the role {role!r}; the key has {caller.role!r}")
    return caller


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
