"""How a call is sent, and when once more."""

from __future__ import annotations

from typing import Any, NoReturn

import httpx

from everlearn.client.calls import Call
from everlearn.client.problem import ProblemError, UnreachableError

__all__ = ["headers_of", "pause_before_again", "raise_told", "result_of"]

_MOST_SECONDS = 30.0
_PASSING = frozenset({429, 502, 503, 504})


def headers_of(key: str | None) -> dict[str, str]:
    """What every request bears."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def result_of(call: Call[Any], answer: httpx.Response) -> Any:
    """What a call comes to. Raises ProblemError where the service tells of one."""
    if answer.is_success:
        return call.read(answer.json())
    retry_after = answer.headers.get("retry-after")
    seconds = float(retry_after) if retry_after is not None and retry_after.isdigit() else None
    try:
        told = answer.json()
    except ValueError:  # something else answers there
        told = {"detail": f"{answer.request.url} answered {answer.text[:200]!r}"}
    raise ProblemError(told if isinstance(told, dict) else {"detail": told}, answer.status_code, seconds)


def raise_told(error: Exception, url: httpx.URL) -> NoReturn:
    """Raise an error as a client does: where no service was reached, one that says at which address."""
    if isinstance(error, httpx.TransportError):
        raise UnreachableError(str(url), error) from error
    raise error


def pause_before_again(call: Call[Any], error: Exception, number: int) -> float | None:
    """Seconds to wait before a call is sent once more; None: it is not to be.

    Args:
        call: The call.
        error: How it failed.
        number: How often it was sent.
    """
    backoff = min(_MOST_SECONDS, 0.1 * 2.0**number)
    if isinstance(error, ProblemError):
        is_refused = error.status == 429  # nothing was done
        if error.status not in _PASSING or not (call.is_repeatable or is_refused):
            return None
        return min(_MOST_SECONDS, error.retry_after or backoff)
    if isinstance(error, httpx.ConnectError):  # it was not sent
        return backoff
    return backoff if call.is_repeatable and isinstance(error, httpx.TransportError) else None
