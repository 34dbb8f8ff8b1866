"""What requests bring, checked against the service's limits and made ready for the run."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from everlearn.label_set import written_set
from everlearn.service.problems import Problem
from everlearn.service.schemas import ExampleIn, Target
from everlearn.service.service import Service
from everlearn.settings.service import ServiceConfig

__all__ = ["checked_example", "checked_texts", "takes_these", "written_target"]


def checked_texts(texts: Sequence[str], config: ServiceConfig) -> Sequence[str]:
    """Texts to predict. Raises Problem where there are too many, or one is empty or too long."""
    if len(texts) > config.max_texts:
        raise Problem("too-many-texts", f"there are {len(texts):,} texts, and {config.max_texts:,} may be")
    for number, text in enumerate(texts, start=1):
        if len(text) > config.max_text_chars:
            raise Problem(
                "text-too-long",
                f"text {number} has {len(text):,} characters, and {config.max_text_chars:,} may be",
            )
        if not text.strip():
            raise Problem("input-unusable", f"text {number} is empty: there is nothing to predict")
    return texts


def checked_example(given: ExampleIn, config: ServiceConfig, *, takes_sets: bool = False) -> dict[str, Any]:
    """An example by the names of ``Example``, with an id.

    Args:
        given: The example.
        config: Whose limits hold.
        takes_sets: Whether texts have several labels each where it is to be learned.

    Raises:
        Problem: It is too long, or is none; or its target is a list where texts have one label each.
    """
    if given.text is not None:
        if len(given.text) > config.max_text_chars:
            raise Problem(
                "text-too-long",
                f"a text has {len(given.text):,} characters, and {config.max_text_chars:,} may be",
            )
    elif given.id is None:
        raise Problem("request-invalid", "an example needs a text, or the id of one that was learned")
    if not _is_json(given.fields):
        raise Problem(
            "request-invalid",
            "fields: numbers must be finite, texts valid Unicode, and nesting at most 20 deep",
        )
    told: dict[str, Any] = {
        "id": given.id or f"e-{secrets.token_hex(12)}",
        "text": given.text,
        "target": None if given.target is None else written_target(given.target, takes_sets=takes_sets),
        "domain": given.domain,
        "time": given.time,
        "fields": given.fields,
    }
    return {name: value for name, value in told.items() if value is not None}


async def takes_these(service: Service, tenant: str, targets: Iterable[Target | None]) -> bool:
    """Whether a tenant's texts have several labels each; asked only where one of the targets is a list."""
    return any(isinstance(target, list) for target in targets) and await service.takes_sets(tenant)


def written_target(target: Target, *, takes_sets: bool) -> str:
    """A target as the journal has it. Raises Problem where it is a list, and texts have one label each."""
    if isinstance(target, str):
        return target
    if not takes_sets:
        raise Problem(
            "input-unusable",
            "the target is a list, and this run has one label a text",
            remedy="Give one label as a string; runs of several labels are made with task multilabel.",
        )
    return written_set(target)


def _is_unicode(text: str) -> bool:
    """Whether a text holds no half of a surrogate pair, which no file takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_json(value: Any, depth: int = 20) -> bool:
    """Whether every number is finite, every text valid Unicode, and nothing nested too deep."""
    if isinstance(value, str):
        return _is_unicode(value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return depth > 0 and all(
            _is_unicode(name) and _is_json(one, depth - 1) for name, one in value.items()
        )
    if isinstance(value, list):
        return depth > 0 and all(_is_json(one, depth - 1) for one in value)
    return True
