"""What goes wrong, as problem documents (RFC 9457): each with a code that stays, and a remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

__all__ = ["KINDS", "Kind", "Problem", "ProblemDocument", "problem_of"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem.

    Attributes:
        status: Of HTTP.
        title: What it is, the same each time.
        remedy: What to do about it.
    """

    status: int
    title: str
    remedy: str


KINDS: Mapping[str, Kind] = {
    # What is wrong with the request.
    "request-invalid": Kind(422, "The request is not as it should be", "See detail, and /docs for the API."),
    "body-invalid": Kind(400, "The body cannot be read", "Send JSON in UTF-8 with its Content-Type."),
    "request-malformed": Kind(400, "It is not HTTP", "Send HTTP/1.1, with one Content-Length that is right."),
    "body-too-large": Kind(413, "The body is too large", "Send less at once, or upload a file."),
    "body-too-slow": Kind(408, "The body did not come in time", "Send it at once, or upload a file."),
    "head-too-large": Kind(431, "The head of the request is too large", "Send fewer and shorter headers."),
    "head-too-slow": Kind(408, "The head of the request did not come in time", "Send it at once."),
    "body-encoded": Kind(415, "The body is compressed", "Send it as it is, without Content-Encoding."),
    "body-type": Kind(415, "The body is of another kind", "Send what /docs says, with its Content-Type."),
    "file-unusable": Kind(
        422,
        "The file is of another kind",
        'Send JSON lines: one object a line, such as {"text": "where is my invoice?", "target": "billing"}.',
    ),
    "text-too-long": Kind(422, "A text is too long", "Shorten it, or raise max_text_chars."),
    "too-many-texts": Kind(422, "There are too many texts in one request", "Send several requests."),
    "input-unusable": Kind(422, "Something cannot be learned or predicted", "See detail."),
    "setting-wrong": Kind(422, "A setting is wrong", "See detail."),
    "not-found": Kind(404, "There is nothing here", "See /docs for what there is."),
    "method-not-allowed": Kind(405, "It cannot be asked in this way", "See /docs for the method."),
    "not-acceptable": Kind(406, "The answer has no such format", "Accept application/json."),
    # Who asks.
    "key-missing": Kind(
        401, "A key is needed", "Send Authorization: Bearer KEY; everlearn keys add makes one."
    ),
    "key-unknown": Kind(401, "The key is not known, or has been removed", "Ask for a new one."),
    "key-expired": Kind(401, "The key has expired", "Ask for a new one."),
    "session-ended": Kind(401, "The sign-in has ended", "Sign in again with the key."),
    "csrf-missing": Kind(
        403, "It is not said that this page has sent it", "Send X-CSRF-Token; GET /v1/session tells it."
    ),
    "host-foreign": Kind(
        403,
        "Without keys only this machine is answered",
        "Ask http://localhost or http://127.0.0.1; for other names make a key (everlearn keys add).",
    ),
    "origin-foreign": Kind(
        403, "Another site's page has sent this", "Send it from the service's own page, or from a program."
    ),
    "role-too-low": Kind(403, "The key may not do this", "Use a key of a higher role."),
    "tenant-forbidden": Kind(403, "The key is not for this tenant", "Use a key of this tenant."),
    "quota-reached": Kind(403, "The quota is used up", "Ask for more, or forget examples."),
    "too-many-requests": Kind(429, "There are too many requests", "Wait as Retry-After says."),
    # What it names.
    "tenant-missing": Kind(422, "It must say which tenant is meant", "Give tenant; see /v1/tenants."),
    "tenant-unknown": Kind(404, "There is no such tenant", "See /v1/tenants."),
    "tenant-exists": Kind(409, "There is a tenant of this name", "Choose another name."),
    "version-unknown": Kind(404, "There is no such version", "See /v1/versions."),
    "example-unknown": Kind(404, "There is no such example", "It may have been deleted."),
    "label-unknown": Kind(404, "No example has this label", "See /v1/labels."),
    "prediction-unknown": Kind(
        404, "The prediction is not known (any more)", "Send text and target to learn."
    ),
    "feedback-given": Kind(
        409, "There is other feedback for this prediction", "Use /v1/correct to change it."
    ),
    "job-unknown": Kind(404, "There is no such job", "See /v1/jobs."),
    "no-answers": Kind(
        409, "The run's predictions are no answers", "Language models write: /v1/completions."
    ),
    "nothing-learned": Kind(409, "The tenant has learned nothing", "Send examples to /v1/learn first."),
    "not-honoured": Kind(422, "Something that is asked for is not done here", "Leave it out; see detail."),
    "run-refuses": Kind(409, "The run cannot do this now", "See detail."),
    # What is wrong here.
    "labels-waiting": Kind(429, "Too many labels wait to be learned", "Wait as Retry-After says."),
    "jobs-waiting": Kind(429, "Too many files wait to be learned", "Wait for one to be done; see /v1/jobs."),
    "texts-waiting": Kind(429, "Too many texts wait to be predicted", "Wait as Retry-After says."),
    "timed-out": Kind(503, "The answer took too long", "Ask again; see /metrics for what is busy."),
    "process-lost": Kind(503, "The process that had it ended twice", "Ask again; the log says why."),
    "stopping": Kind(503, "The service is stopping", "Ask again when it is back."),
    "storage-full": Kind(503, "It cannot be written", "Make room on the disk; nothing acknowledged is lost."),
    "model-unavailable": Kind(503, "The model cannot be loaded", "See detail."),
    "state-damaged": Kind(500, "Something saved is damaged", "See detail; everlearn verify tells more."),
    "unexpected": Kind(500, "Something went wrong that nobody has foreseen", "The log tells more."),
}

_CODES_OF_ERRORS = {
    "ConfigError": "setting-wrong",
    "FullError": "quota-reached",
    "InUseError": "run-refuses",
    "InputError": "input-unusable",
    "BrokenStreamError": "input-unusable",
    "ModelError": "model-unavailable",
    "MissingExtraError": "model-unavailable",
    "RunError": "run-refuses",
    "StateError": "state-damaged",
    "StorageError": "storage-full",
    "UnknownExampleError": "example-unknown",
    "UnknownTenantError": "tenant-unknown",
    "UnknownVersionError": "version-unknown",
}


class ProblemDocument(BaseModel):
    """A problem document (RFC 9457), as ``application/problem+json``."""

    type: str
    """Where the kind of problem is explained."""
    code: str
    """The kind of problem; stays the same."""
    title: str
    status: int
    detail: str
    """What is wrong this time."""
    remedy: str
    """What to do about it."""


class Problem(Exception):
    """Ends a request with a problem document.

    Args:
        code: One of ``KINDS``.
        detail: What is wrong this time.
        retry_after: Seconds after which asking again may help.
        remedy: What to do about it, where that is more than what the kind says.
    """

    def __init__(
        self, code: str, detail: str, *, retry_after: float | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.kind = KINDS[code]
        self.retry_after = retry_after
        self.remedy = self.kind.remedy if remedy is None else remedy

    def document(self) -> ProblemDocument:
        """The document."""
        return ProblemDocument(
            type=f"/problems/{self.code}",
            code=self.code,
            title=self.kind.title,
            status=self.kind.status,
            detail=self.detail,
            remedy=self.remedy,
        )


def problem_of(told: Mapping[str, Any]) -> Problem:
    """The problem that a process has told of as an error."""
    code = _CODES_OF_ERRORS.get(str(told["error"]), "unexpected")
    retry_after = 5.0 if KINDS[code].status == 503 else None
    return Problem(code, str(told["message"]), retry_after=retry_after)
