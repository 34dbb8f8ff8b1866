"""Files to learn: uploaded as a whole, and learned as jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.requests import ClientDisconnect

from everlearn.service.access import Caller, Labeller, TheService
from everlearn.service.job_files import JobRecord
from everlearn.service.jobs import Jobs
from everlearn.service.problems import Problem
from everlearn.service.schemas_looking import Job, JobsResponse

__all__ = ["router"]

router = APIRouter(tags=["jobs"])

_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")

Tenant = Annotated[str | None, Query(min_length=1, max_length=1_000)]


def _jobs_of(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


TheJobs = Annotated[Jobs, Depends(_jobs_of)]


@router.post(
    "/v1/jobs",
    status_code=202,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": {"type": "string"}} for kind in _TYPES},
        }
    },
)
async def upload(
    request: Request, caller: Labeller, service: TheService, jobs: TheJobs, tenant: Tenant = None
) -> Job:
    """Learn a whole file of JSON lines: an object a line, by the names of an example (or target as label).

    When this is answered, all of it is on the disk; what was cut off on the way is not learned at all. A line
    without id gets one that is made of the job's and its number: uploaded again it is another example.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in _TYPES:
        raise Problem(
            "body-type",
            f"a file is sent as {_TYPES[0]}, not as {kind or 'nothing that is named'}",
            remedy=f"Send JSON lines with Content-Type: {_TYPES[0]}.",
        )
    name = caller.tenant(service, tenant)
    if service.is_stopping:
        raise Problem("stopping", "the service is stopping", retry_after=5)
    record = await jobs.add(name, caller.name, _chunks(request))
    return Job.model_validate(record.told())


@router.get("/v1/jobs")
async def list_jobs(caller: Labeller, jobs: TheJobs) -> JobsResponse:
    """All jobs, the newest first; of those that are over, the newest ones."""
    seen = [record.told() for record in jobs.all() if caller.sees(record.tenant)]
    return JobsResponse.model_validate({"jobs": seen})


@router.get("/v1/jobs/{id}")
async def show_job(id: str, caller: Labeller, jobs: TheJobs) -> Job:
    """How far a job has come."""
    return Job.model_validate(_known(jobs, caller, id).told())


@router.delete("/v1/jobs/{id}")
async def stop_job(id: str, caller: Labeller, jobs: TheJobs) -> Job:
    """Stop a job. What it has learned stays; one that is over is left as it is."""
    return Job.model_validate((await jobs.stop(_known(jobs, caller, id).id)).told())


def _known(jobs: Jobs, caller: Caller, id_: str) -> JobRecord:
    record = jobs.get(id_)
    if record is None or not caller.sees(record.tenant):
        raise Problem("job-unknown", f"there is no job {id_!r}")
    return record


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise Problem("body-invalid", "the upload was cut off: nothing of it is learned") from None
