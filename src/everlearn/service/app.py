"""The service as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from everlearn.service.access import RateLimit
from everlearn.service.description import describe_problems
from everlearn.service.gate import Gate
from everlearn.service.jobs import Jobs
from everlearn.service.logs import RequestLog
from everlearn.service.problems import Problem, ProblemDocument
from everlearn.service.responses import http_problem, problem_response, validation_problem
from everlearn.service.routes import (
    audit,
    dashboard,
    description,
    examples,
    history,
    labels,
    learn,
    operation,
    predict,
    tenants,
)
from everlearn.service.routes import jobs as job_routes
from everlearn.service.routes.protocols import include_protocols
from everlearn.service.service import Service
from everlearn.service.sessions import Sessions
from everlearn.version import __version__

__all__ = ["create_app"]

_LOG = logging.getLogger(__name__)

_DESCRIPTION = """Serve, learn, evaluate, protect and undo: a run that goes on learning while it answers.

Every error is a problem document (RFC 9457) with a `code` that stays the same and a `remedy`."""


def create_app(service: Service) -> FastAPI:
    """The application of a service, which starts and stops with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        await jobs.start()
        try:
            yield
        finally:
            await jobs.close()
            await service.stop()

    jobs = Jobs(service)

    app = FastAPI(
        title="everlearn",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # those pages are loaded from elsewhere; the one here needs nobody else
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        responses={"4XX": {"model": ProblemDocument}, "5XX": {"model": ProblemDocument}},
    )
    app.state.service = service
    app.state.jobs = jobs
    app.state.rate_limit = RateLimit(service.config.requests_per_minute)
    app.state.sessions = Sessions()
    for routes in (
        predict,
        learn,
        history,
        examples,
        labels,
        job_routes,
        tenants,
        operation,
        audit,
        dashboard,
        description,
    ):
        app.include_router(routes.router)
    include_protocols(app)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
    describe_problems(app)
    app.add_middleware(Gate, service=service)
    app.add_middleware(RequestLog, service=service)
    return app


async def _problem(_: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, Problem)
    return problem_response(problem)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return problem_response(validation_problem(error))


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    response = problem_response(http_problem(error))
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, asyncio.CancelledError):
        raise error
    _LOG.error("a request failed", exc_info=error)
    return problem_response(Problem("unexpected", f"{type(error).__name__}"))
