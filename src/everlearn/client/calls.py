"""What is asked of a service, as calls: the same for both clients."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from everlearn.service.schemas import (
    FeedbackResponse,
    ForgetResponse,
    LearnResponse,
    PredictResponse,
    ReviewItem,
    ReviewResponse,
    RollbackResponse,
    SetAsideResponse,
)
from everlearn.service.schemas_operation import AuditResponse, TenantFigures

__all__ = ["Call", "Calls", "ExampleGiven", "TargetGiven"]

T = TypeVar("T")

TargetGiven = str | Sequence[str]
"""A label or target text; or several labels."""

ExampleGiven = Mapping[str, Any]
"""An example by the names of the service: text, target, id, domain, time, fields."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and how its answer is read.

    Attributes:
        method: Of HTTP.
        path: The same.
        read: Makes the result of the answer's JSON.
        body: JSON; None: there is none.
        query: Parameters of the address.
        is_repeatable: Whether sending it again does no harm.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    body: Mapping[str, Any] | None = None
    query: Mapping[str, Any] | None = None
    is_repeatable: bool = True


class Calls:
    """Makes calls.

    Args:
        tenant: Whom they ask; None: the only one there is.
    """

    def __init__(self, tenant: str | None) -> None:
        self._tenant = tenant

    def predict(
        self, texts: str | Sequence[str], *, top: int, version: int | None, remember: bool
    ) -> Call[PredictResponse]:
        """See Client."""
        body = {
            "texts": [texts] if isinstance(texts, str) else list(texts),
            "top": top,
            "remember": remember,
            **_given(version=version),
        }
        return self._post("/v1/predict", PredictResponse.model_validate, body)

    def learn(self, examples: Iterable[ExampleGiven]) -> Call[LearnResponse]:
        """See Client. Every example has an id from here on, so that it can be sent again."""
        told = [{"id": f"e-{secrets.token_hex(12)}", **_without_none(one)} for one in examples]
        return self._post("/v1/learn", LearnResponse.model_validate, {"examples": told})

    def feedback(self, id_: str, target: TargetGiven | None, right: bool | None) -> Call[FeedbackResponse]:
        """See Client."""
        body = {"id": id_, **_given(target=_listed(target), right=right)}
        return Call("POST", "/v1/feedback", FeedbackResponse.model_validate, body)

    def correct(self, targets: Mapping[str, TargetGiven]) -> Call[LearnResponse]:
        """See Client."""
        told = {id_: _listed(target) for id_, target in targets.items()}
        return self._post("/v1/correct", LearnResponse.model_validate, {"targets": told})

    def forget(
        self, ids: Sequence[str], where: Mapping[str, str] | None, approximate: bool
    ) -> Call[ForgetResponse]:
        """See Client."""
        body = {"ids": list(ids), "where": dict(where or {}), "approximate": approximate}
        return self._post("/v1/forget", ForgetResponse.model_validate, body, is_repeatable=False)

    def review_queue(self, kind: str | None, limit: int) -> Call[list[ReviewItem]]:
        """See Client."""
        return self._get(
            "/v1/review",
            lambda told: [ReviewItem.model_validate(one) for one in told["items"]],
            **_given(kind=kind, limit=limit),
        )

    def review(
        self, accept: Sequence[str], reject: Sequence[str], dismiss: Sequence[str], readmit: int | None
    ) -> Call[ReviewResponse]:
        """See Client."""
        body = {
            "accept": list(accept),
            "reject": list(reject),
            "dismiss": list(dismiss),
            **_given(readmit=readmit),
        }
        return self._post("/v1/review", ReviewResponse.model_validate, body, is_repeatable=False)

    def rollback(self, version: int | None, keep_learned: bool) -> Call[RollbackResponse]:
        """See Client."""
        body = {"keep_learned": keep_learned, **_given(version=version)}
        return self._post("/v1/rollback", RollbackResponse.model_validate, body, is_repeatable=False)

    def would_set_aside(self, version: int) -> Call[int]:
        """See Client."""
        return self._get(
            "/v1/rollback",
            lambda told: SetAsideResponse.model_validate(told).examples_set_aside,
            version=version,
        )

    def versions(self) -> Call[dict[str, Any]]:
        """See Client."""
        return self._get("/v1/versions", dict)

    def diff(self, first: int, second: int) -> Call[dict[str, Any]]:
        """See Client."""
        return self._get("/v1/diff", dict, first=first, second=second)

    def blame(self, id_: str) -> Call[dict[str, Any]]:
        """See Client."""
        return self._get("/v1/blame", dict, id=id_)

    def stats(self) -> Call[dict[str, Any]]:
        """See Client."""
        return self._get("/v1/stats", dict)

    def fingerprint(self) -> Call[str]:
        """See Client."""
        return self._get("/v1/fingerprint", lambda told: str(told["fingerprint"]))

    def audit(
        self, after: int | None, kind: str | None, author: str | None, newest: bool, limit: int
    ) -> Call[AuditResponse]:
        """See Client."""
        query = _given(after=after, kind=kind, author=author, limit=limit)
        return self._get("/v1/audit", AuditResponse.model_validate, newest=newest, **query)

    def tenants(self) -> Call[list[str]]:
        """See Client."""
        return Call("GET", "/v1/tenants", lambda told: [str(name) for name in told["tenants"]])

    def tenant(self, name: str) -> Call[TenantFigures]:
        """See Client."""
        return Call("GET", _of_tenant(name), TenantFigures.model_validate)

    def add_tenant(
        self, name: str, settings: Mapping[str, Any] | None, max_examples: int | None
    ) -> Call[None]:
        """See Client."""
        body = {"name": name, "settings": dict(settings or {}), **_given(max_examples=max_examples)}
        return Call("POST", "/v1/tenants", lambda _: None, body, is_repeatable=False)

    def set_quota(self, name: str, max_examples: int | None) -> Call[None]:
        """See Client."""
        return Call("PATCH", _of_tenant(name), lambda _: None, {"max_examples": max_examples})

    def remove_tenant(self, name: str) -> Call[None]:
        """See Client."""
        return Call("DELETE", _of_tenant(name), lambda _: None, is_repeatable=False)

    def _post(
        self, path: str, read: Callable[[Any], T], body: Mapping[str, Any], *, is_repeatable: bool = True
    ) -> Call[T]:
        return Call("POST", path, read, {**body, **_given(tenant=self._tenant)}, None, is_repeatable)

    def _get(self, path: str, read: Callable[[Any], T], **query: Any) -> Call[T]:
        return Call("GET", path, read, None, {**query, **_given(tenant=self._tenant)})


def _of_tenant(name: str) -> str:
    return f"/v1/tenants/{quote(name, safe='')}"


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _without_none(example: ExampleGiven) -> dict[str, Any]:
    return {name: value for name, value in example.items() if value is not None}


def _listed(target: TargetGiven | None) -> str | list[str] | None:
    return target if target is None or isinstance(target, str) else list(target)
