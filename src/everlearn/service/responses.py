"""A problem as an answer over HTTP."""

from __future__ import annotations

import math

from starlette.responses import JSONResponse

from everlearn.service.problems import Problem

__all__ = ["problem_response"]


def problem_response(problem: Problem) -> JSONResponse:
    """The answer that tells of a problem."""
    headers = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after)))
    if problem.kind.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(
        problem.document().model_dump(),
        problem.kind.status,
        headers=headers,
        media_type="application/problem+json",
    )
