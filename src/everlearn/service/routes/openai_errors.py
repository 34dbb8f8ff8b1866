"""Errors in OpenAI's shape, so that its clients raise the exceptions that they have for them."""

from __future__ import annotations

from fastapi.responses import JSONResponse

from everlearn.service.problems import Problem
from everlearn.service.responses import problem_headers
from everlearn.service.schemas_openai import ErrorDetail, ErrorDocument
from everlearn.service.telling_route import telling_route

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


def error_document(problem: Problem) -> ErrorDocument:
    """A problem as OpenAI's protocol tells of it."""
    status = _status(problem)
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    return ErrorDocument(
        error=ErrorDetail(
            message=f"{problem.kind.title}: {problem.detail}. {problem.remedy}",
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


OpenAIRoute = telling_route(_response)
"""A route that tells errors in OpenAI's shape."""
