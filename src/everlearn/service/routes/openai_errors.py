"""Errors in OpenAI's shape, so that its clients raise the exceptions that they have for them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from everlearn.service.problems import Problem
from everlearn.service.responses import problem_headers, validation_problem
from everlearn.service.schemas_openai import ErrorDetail, ErrorDocument

__all__ = ["OpenAIRoute", "error_document"]

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {
    "tenant-unknown": "model_not_found",
    "tenant-missing": "model_not_found",
    "version-unknown": "model_not_found",
    "key-missing": "invalid_api_key",
    "key-unknown": "invalid_api_key",
    "key-expired": "invalid_api_key",
}
_CODES_OF_HTTP = {400: "body-invalid", 408: "body-too-slow", 413: "body-too-large"}


class OpenAIRoute(APIRoute):
    """A route that tells errors in OpenAI's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See APIRoute."""
        handle = super().get_route_handler()

        async def handle_and_tell(request: Request) -> Response:
            try:
                return await handle(request)
            except Problem as problem:
                return _response(problem)
            except RequestValidationError as error:
                return _response(validation_problem(error))
            except HTTPException as error:
                return _response(Problem(_CODES_OF_HTTP.get(error.status_code, "unexpected"), error.detail))

        return handle_and_tell


def error_document(problem: Problem) -> ErrorDocument:
    """A problem as OpenAI's protocol tells of it."""
    status = _status(problem)
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    return ErrorDocument(
        error=ErrorDetail(
            message=f"{problem.kind.title}: {problem.detail}. {problem.kind.remedy}",
            type=kind,
            code=_CODES.get(problem.code, problem.code),
        )
    )


def _status(problem: Problem) -> int:
    """What is well-formed and wrong has the same status there as what is not."""
    return 400 if problem.kind.status == 422 else problem.kind.status


def _response(problem: Problem) -> JSONResponse:
    return JSONResponse(
        error_document(problem).model_dump(), _status(problem), headers=problem_headers(problem)
    )
