"""Routes that tell problems in a shape of their own: as the clients of another protocol look for them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from everlearn.service.problems import Problem
from everlearn.service.responses import http_problem, validation_problem

__all__ = ["telling_route"]


def telling_route(answer: Callable[[Problem], Response]) -> type[APIRoute]:
    """A class of routes.

    Args:
        answer: Makes the answer that tells of a problem.
    """

    class TellingRoute(APIRoute):
        """A route whose problems are told so."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            """See APIRoute."""
            handle = super().get_route_handler()

            async def handle_and_tell(request: Request) -> Response:
                try:
                    return await handle(request)
                except Problem as problem:
                    return answer(problem)
                except RequestValidationError as error:
                    return answer(validation_problem(error))
                except HTTPException as error:
                    return answer(http_problem(error))

            return handle_and_tell

    return TellingRoute
