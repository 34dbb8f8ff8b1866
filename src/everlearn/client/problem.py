"""Problems that a service tells of, and that there is none, as errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everlearn.errors import EverlearnError

__all__ = ["ProblemError", "UnreachableError"]


class ProblemError(EverlearnError):
    """A service has answered with a problem document.

    Attributes:
        code: The kind of problem; stays the same.
        status: Of HTTP.
        detail: What is wrong this time.
        remedy: What to do about it.
        retry_after: Seconds after which asking again may help; None: it will not.
    """

    def __init__(self, told: Mapping[str, Any], status: int, retry_after: float | None) -> None:
        self.code = str(told.get("code", "unexpected"))
        self.status = status
        self.detail = str(told.get("detail", told))
        self.remedy = str(told.get("remedy", ""))
        self.retry_after = retry_after
        super().__init__(f"{self.code} ({status}): {self.detail}. {self.remedy}".strip())


class UnreachableError(EverlearnError):
    """No service has answered; the error of the connection is its cause.

    Attributes:
        url: Where one was asked.
    """

    def __init__(self, url: str, error: Exception) -> None:
        self.url = url
        what = str(error) or type(error).__name__
        super().__init__(
            f"no service answers at {url} ({what}): see that it runs (`everlearn serve PATH` prints its "
            "address), and that address and port are those"
        )
