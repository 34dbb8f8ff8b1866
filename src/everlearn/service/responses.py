"""Problems as answers over HTTP."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from everlearn.service.problems import Problem

__all__ = ["http_problem", "problem_headers", "problem_response", "validation_problem"]

_CODES_OF_HTTP = {
    400: "body-invalid",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    408: "body-too-slow",
    413: "body-too-large",
}

_ALTERNATIVE = re.compile(
    r"(constrained-)?(str|int|float|bool)|\w+\[.*\]|[A-Z]\w+(In|Request)|<.*>", re.DOTALL
)
"""What pydantic names within a place for which of several things it has tried: no field of a body."""


def problem_response(problem: Problem) -> JSONResponse:
    """The answer that tells of a problem."""
    return JSONResponse(
        problem.document().model_dump(),
        problem.kind.status,
        headers=problem_headers(problem),
        media_type="application/problem+json",
    )


def problem_headers(problem: Problem) -> dict[str, str]:
    """The headers of the answer that tells of a problem, whatever its shape."""
    headers = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after)))
    if problem.kind.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def validation_problem(error: RequestValidationError) -> Problem:
    """What is wrong with a request that is not as it should be."""
    errors = error.errors()
    if any(one["type"] == "json_invalid" for one in errors):
        return Problem("body-invalid", str(errors[0].get("ctx", {}).get("error", "it is not JSON")))
    told = "; ".join(f"{_place(one)}: {one['msg']}" for one in errors[:5])
    return Problem("request-invalid", told.encode("utf-8", "replace").decode())  # names may be no Unicode


def http_problem(error: HTTPException) -> Problem:
    """What is wrong where the framework says so by a status."""
    return Problem(_CODES_OF_HTTP.get(error.status_code, "unexpected"), str(error.detail))


def _place(error: Mapping[str, Any]) -> str:
    """Where something is wrong, as whoever sent it calls the place."""
    parts = [part for part in error["loc"][1:] if not _ALTERNATIVE.fullmatch(str(part))]
    if error["type"] == "unknown_field":
        parts.append(error["ctx"]["field"])
    return ".".join(map(str, parts)) or str(error["loc"][0])
