"""A route for what is asked most often: the body is read, checked and answered with as little else as can be.

Described to OpenAPI as any other route, by the signature of its endpoint: a body, the caller, the service.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from starlette.requests import ClientDisconnect

from everlearn.service.access import authenticated, service_of
from everlearn.service.keys import Role
from everlearn.service.problems import Problem

__all__ = ["lean_route"]

_SCHEME = "bearer "


def lean_route(asked: type[BaseModel], role: Role) -> type[APIRoute]:
    """A class of routes.

    Args:
        asked: What the body holds.
        role: Who may ask.
    """

    class LeanRoute(APIRoute):
        """A route that is answered so."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            """See APIRoute."""
            endpoint = self.endpoint

            async def handle(request: Request) -> Response:
                caller = authenticated(request, _key_in(request), role)
                try:
                    body = await request.body()
                except ClientDisconnect:
                    raise Problem("body-invalid", "it was cut off") from None
                try:
                    given = asked.model_validate_json(body)
                except ValidationError as error:
                    raise RequestValidationError(
                        [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
                    ) from None
                told = await endpoint(given, caller, service_of(request))
                return Response(to_json(told), media_type="application/json")

            return handle

    return LeanRoute


def _key_in(request: Request) -> str | None:
    given = request.headers.get("authorization")
    if given is None:
        return None
    if not given.lower().startswith(_SCHEME):
        raise Problem("key-unknown", "keys are sent as Authorization: Bearer KEY")
    return given[len(_SCHEME) :].strip()
