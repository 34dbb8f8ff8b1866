"""A client of a service for programs that do other things while they wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar

import httpx

from everlearn.client.calls import Call, Calls, ExampleGiven, TargetGiven
from everlearn.client.sending import headers_of, pause_before_again, raise_told, result_of
from everlearn.service.schemas import (
    FeedbackResponse,
    ForgetResponse,
    LearnResponse,
    PredictedText,
    ReviewItem,
    ReviewResponse,
    RollbackResponse,
)
from everlearn.service.schemas_operation import AuditResponse, TenantFigures

__all__ = ["AsyncClient"]

T = TypeVar("T")


class AsyncClient:
    """Asks a service, as ``Client`` does. Use it in an ``async with`` block.

    What fails in passing (a queue that is full, a service that is being restarted) is sent again, where that
    does no harm: examples get their ids here, so the same one is never learned twice.

    Args:
        url: Of the service, as ``everlearn serve`` prints it.
        key: That ``everlearn keys add`` has made; None: there are none.
        tenant: Whom to ask; None: the only one there is.
        timeout_seconds: Longest wait for an answer.
        retries: How often something is sent again.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        tenant: str | None = None,
        timeout_seconds: float = 60.0,
        retries: int = 5,
    ) -> None:
        self._calls = Calls(tenant)
        self._retries = retries
        self._http = httpx.AsyncClient(base_url=url, headers=headers_of(key), timeout=timeout_seconds)

    async def predict(
        self,
        texts: str | Sequence[str],
        *,
        top: int = 3,
        version: int | None = None,
        remember: bool = True,
    ) -> list[PredictedText]:
        """What a run says of texts.

        Args:
            texts: One, or several.
            top: How many labels to name for each.
            version: A version to ask, in place of what is served.
            remember: Keep them for a while, so that ``feedback`` can name their ids.

        Raises:
            ProblemError: The service refuses; see its ``code`` and ``remedy``. So do all methods.
            UnreachableError: No service answers at the address, or in time. So do all methods.
        """
        call = self._calls.predict(texts, top=top, version=version, remember=remember)
        return (await self._send(call)).predictions

    async def learn(self, examples: ExampleGiven | Iterable[ExampleGiven]) -> LearnResponse:
        """Learn examples: durable when this returns.

        Args:
            examples: One, or several, each by the names ``text``, ``target``, ``id``, ``domain``, ``time``,
                ``fields``.
        """
        given = [examples] if isinstance(examples, Mapping) else examples
        return await self._send(self._calls.learn(given))

    async def feedback(
        self, id: str | None, target: TargetGiven | None = None, *, right: bool | None = None
    ) -> FeedbackResponse:
        """Say what is right of a prediction, or whether it is; it is learned under the prediction's id."""
        return await self._send(self._calls.feedback(id or "", target, right))

    async def correct(self, targets: Mapping[str, TargetGiven]) -> LearnResponse:
        """Other targets for examples that were learned, by id."""
        return await self._send(self._calls.correct(targets))

    async def forget(
        self,
        ids: Sequence[str] = (),
        *,
        where: Mapping[str, str] | None = None,
        approximate: bool = False,
    ) -> ForgetResponse:
        """Delete examples by id, by field, or both; the answer has the certificate."""
        return await self._send(self._calls.forget(ids, where, approximate))

    async def review_queue(self, kind: str | None = None, *, limit: int = 20) -> list[ReviewItem]:
        """What a person should look at: "suspicious", "wrong", "unfamiliar", "unsure"; None: all of it."""
        return await self._send(self._calls.review_queue(kind, limit))

    async def review(
        self,
        *,
        accept: Sequence[str] = (),
        reject: Sequence[str] = (),
        dismiss: Sequence[str] = (),
        readmit: int | None = None,
    ) -> ReviewResponse:
        """Decide on what is in the review queue."""
        return await self._send(self._calls.review(accept, reject, dismiss, readmit))

    async def rollback(self, version: int | None, *, keep_learned: bool = False) -> RollbackResponse:
        """Serve an earlier version at once, and learn on from there; None: the newest again.

        Without ``keep_learned``, what was learned since is set aside for good: see ``would_set_aside``.
        """
        return await self._send(self._calls.rollback(version, keep_learned))

    async def would_set_aside(self, version: int) -> int:
        """How many examples a rollback to a version would set aside; nothing is done."""
        return await self._send(self._calls.would_set_aside(version))

    async def versions(self) -> dict[str, Any]:
        """All versions, which is served, and what the guard has decided."""
        return await self._send(self._calls.versions())

    async def diff(self, first: int, second: int) -> dict[str, Any]:
        """What lies between two versions."""
        return await self._send(self._calls.diff(first, second))

    async def blame(self, id: str) -> dict[str, Any]:
        """Where an example came from, and which versions learned it."""
        return await self._send(self._calls.blame(id))

    async def stats(self) -> dict[str, Any]:
        """The run's figures, by the names of ``everlearn learn --json``."""
        return await self._send(self._calls.stats())

    async def fingerprint(self) -> str:
        """SHA-256 of what is learned, computed now."""
        return await self._send(self._calls.fingerprint())

    async def audit(
        self,
        *,
        after: int | None = None,
        kind: str | None = None,
        author: str | None = None,
        newest: bool = False,
        limit: int = 100,
    ) -> AuditResponse:
        """Who has changed what: a page of the audit log, oldest first.

        Args:
            after: The number of the act that they are behind; the answer's ``next`` goes on.
            kind: Only acts of this kind: "learn", "correct", "rename", "forget", "rollback", "review" or
                "quota".
            author: Only those of the key with this name.
            newest: The newest first; ``after`` is then the one that they are before.
            limit: Most of them.
        """
        return await self._send(self._calls.audit(after, kind, author, newest, limit))

    async def tenants(self) -> list[str]:
        """The tenants that the key is for."""
        return await self._send(self._calls.tenants())

    async def tenant(self, name: str) -> TenantFigures:
        """What a tenant has learned, how well, what it takes, and its quota."""
        return await self._send(self._calls.tenant(name))

    async def add_tenant(
        self, name: str, settings: Mapping[str, Any] | None = None, *, max_examples: int | None = None
    ) -> None:
        """Add a tenant to a hub."""
        await self._send(self._calls.add_tenant(name, settings, max_examples))

    async def set_quota(self, name: str, max_examples: int | None) -> None:
        """Let a tenant of a hub learn so many examples; None: any number. What it has learned stays."""
        await self._send(self._calls.set_quota(name, max_examples))

    async def remove_tenant(self, name: str) -> None:
        """Delete a tenant of a hub, and all that it learned."""
        await self._send(self._calls.remove_tenant(name))

    async def aclose(self) -> None:
        """Let connections go."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.aclose()

    async def _send(self, call: Call[T]) -> T:
        number = 0
        while True:
            try:
                answer = await self._http.request(call.method, call.path, json=call.body, params=call.query)
                result: T = result_of(call, answer)
                return result
            except Exception as error:
                pause = pause_before_again(call, error, number)
                number += 1
                if pause is None or number > self._retries:
                    raise_told(error, self._http.base_url)
                await asyncio.sleep(pause)
