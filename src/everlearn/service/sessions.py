"""Sign-ins of the dashboard: a session stands for a key, in a cookie that scripts cannot read.

They are kept in memory, by the hash of what the cookie holds, and end with the process. A session is worth no
more than its key: where that is removed or has expired, so has the session.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from starlette.requests import Request

__all__ = ["CSRF_HEADER", "SESSION_SECONDS", "Session", "Sessions", "cookie_name"]

CSRF_HEADER = "X-CSRF-Token"
SESSION_SECONDS = 12 * 3_600
_MOST_SESSIONS = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in.

    Attributes:
        key_sha256: Of the key that it stands for (hex).
        ends: When it ends, in seconds of a clock that only goes forward.
        csrf_token: What requests that change something must bring in a header: another site's page can let a
            browser send the cookie, but cannot know this.
    """

    key_sha256: str
    ends: float
    csrf_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    def is_csrf_token(self, given: str | None) -> bool:
        """Whether a request has brought the token. Takes as long whatever it has brought."""
        return given is not None and hmac.compare_digest(self.csrf_token.encode(), given.encode("utf-8"))


class Sessions:
    """All sign-ins of a service.

    Args:
        seconds: How long each holds.
        most: How many there may be; the oldest end first.
    """

    def __init__(self, seconds: float = SESSION_SECONDS, most: int = _MOST_SESSIONS) -> None:
        self.seconds = seconds
        self._most = most
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # oldest first, so those that end first

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, key_sha256: str) -> tuple[str, Session]:
        """Sign in; returns what the cookie is to hold, which is nowhere else to be found."""
        now = time.monotonic()
        while self._sessions:
            oldest = next(iter(self._sessions))
            if self._sessions[oldest].ends > now and len(self._sessions) < self._most:
                break
            del self._sessions[oldest]
        token = secrets.token_urlsafe(32)
        session = Session(key_sha256, now + self.seconds)
        self._sessions[_digest(token)] = session
        return token, session

    def find(self, token: str) -> Session | None:
        """The session of a cookie; None: there is none, or it has ended."""
        session = self._sessions.get(_digest(token))
        if session is not None and session.ends <= time.monotonic():
            self.close(token)
            return None
        return session

    def close(self, token: str) -> bool:
        """Sign out; False: there was no such session."""
        return self._sessions.pop(_digest(token), None) is not None


def cookie_name(request: Request) -> str:
    """The cookie's name. Browsers send a cookie to every port of a host, so each service has its own."""
    server = request.scope.get("server")
    return f"everlearn-session-{server[1] if server else 0}"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
