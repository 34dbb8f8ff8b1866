"""Whom a request of another tool's protocol is for, and what they say: where it does not speak of tenants."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query, Request

from everlearn.service.access import Caller
from everlearn.service.problems import Problem
from everlearn.service.routes.given import checked_texts
from everlearn.service.service import Service

__all__ = [
    "ALL_LABELS",
    "BY_PATH",
    "WRITING",
    "Said",
    "TenantAsked",
    "labels_of",
    "model_asked",
    "numbers_of",
    "predicted",
    "sound_texts",
    "task_asked",
    "tokens_in",
    "vectors_of",
]

ALL_LABELS = 1_000_000
"""As many labels are asked for where a protocol tells of all."""

WRITING = ("lm", "seq2seq")
"""Tasks of runs whose models write."""

BY_PATH = "/tenants/{of_tenant}"
"""Before the paths of protocols that do not speak of tenants: ``/tenants/desk/predict``, say."""


async def _tenant_asked(
    request: Request,
    tenant: Annotated[
        str | None,
        Query(min_length=1, max_length=1_000, description="May be left out where there is one only."),
    ] = None,
) -> str | None:
    return request.path_params.get("of_tenant", tenant)


TenantAsked = Annotated[str | None, Depends(_tenant_asked)]
"""Whom to ask, by the path or the query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a tenant says of texts.

    Attributes:
        tenant: The tenant.
        texts: The texts.
        said: The answers, in their order.
        bears: What every answer bears.
        ids: The predictions' ids, for feedback; None: it is not remembered.
    """

    tenant: str
    texts: Sequence[str]
    said: Sequence[Mapping[str, Any]]
    bears: Mapping[str, Any]
    ids: Sequence[str | None]


def model_asked(model: str, caller: Caller, service: Service) -> tuple[str, int | None]:
    """The tenant and the version that ``tenant`` or ``tenant@version`` means.

    Raises:
        Problem: There is no such tenant, or the key is not for it.
    """
    name, at, number = model.rpartition("@")
    is_version = bool(at and name) and number.isascii() and number.isdecimal() and len(number) < 16
    if is_version and model not in service.learner.tenants:
        return caller.tenant(service, name), int(number)
    return caller.tenant(service, model), None


async def task_asked(service: Service, tenant: str) -> str:
    """What a tenant's run learns: "classify", "multilabel", "lm" or "seq2seq"."""
    return str((await service.about(tenant))["task"])


def sound_texts(texts: Sequence[str], service: Service) -> Sequence[str]:
    """Texts, as of ``checked_texts``; raises Problem also where one is no Unicode (half of a pair)."""
    checked_texts(texts, service.config)
    for number, text in enumerate(texts, start=1):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Problem("input-unusable", f"text {number} has half of a surrogate pair") from None
    return texts


async def predicted(
    service: Service, tenant: str, texts: Sequence[str], *, top: int, version: int | None = None
) -> Said:
    """What a classifier says of texts; it is remembered and counted.

    Raises:
        Problem: Something is wrong with a text, the tenant has no classifier, or has learned nothing.
    """
    sound_texts(texts, service)
    if await task_asked(service, tenant) in WRITING:
        raise Problem("no-answers", f"the run of {tenant!r} writes texts; it has no labels")
    said, bears = await service.predict(tenant, texts, top, version)
    if any(one.get("label") is None and one.get("labels") is None for one in said):
        raise Problem("nothing-learned", f"{tenant!r} has learned nothing yet")
    keeps = service.config.keep_predictions_days > 0
    ids: Sequence[str | None] = service.remember(tenant, texts, said, bears) if keeps else [None] * len(texts)
    service.note_predictions(tenant, said)
    return Said(tenant=tenant, texts=texts, said=said, bears=bears, ids=ids)


def labels_of(said: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Labels and their probabilities, the most probable first."""
    return [(one["label"], one["probability"]) for one in said["top"]]


async def tokens_in(service: Service, tenant: str, texts: Sequence[str]) -> list[int]:
    """How many tokens of each text a tenant's encoder reads."""
    told = await service.workers.tell("count", tenant=tenant, texts=list(texts))
    return list(told["tokens"])


async def vectors_of(
    service: Service, tenant: str, texts: Sequence[str], *, normalize: bool = True
) -> tuple[list[str], int]:
    """Vectors of texts by a tenant's encoder.

    Returns:
        For each text float32 numbers in little-endian order, as base64; and how many tokens were read.

    Raises:
        Problem: Something is wrong with a text, or the tenant has no encoder.
    """
    sound_texts(texts, service)
    made = await service.vectors.of(tenant, texts, normalize=normalize)
    return [vector for vector, _ in made], sum(num_tokens for _, num_tokens in made)


def numbers_of(vector: str) -> list[float]:
    """The numbers of a vector that came as base64."""
    numbers = array("f", base64.b64decode(vector))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
