"""Where a request comes from, as far as a browser tells: pages of other sites may not act here.

A service without keys answers whoever can reach its address, and that is every page that is open in a browser
on the same machine. So what changes something must come from the service's own pages (or from no browser),
and the name that was asked must be this machine's: one that another site has made point here is refused.
"""

from __future__ import annotations

import ipaddress

from starlette.requests import Request

from everlearn.service.problems import Problem

__all__ = ["SAFE_METHODS", "is_loopback", "refuse_foreign_host", "refuse_foreign_origin"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN = frozenset({"same-origin", "none"})


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_foreign_host(request: Request) -> None:
    """Let pass only what names this machine by a name of its own.

    Raises:
        Problem: The Host header has another name.
    """
    name = _name_in(request.headers.get("host", ""))
    if not is_loopback(name):
        raise Problem("host-foreign", f"the request is for {name!r}; without keys it must be for localhost")


def refuse_foreign_origin(request: Request) -> None:
    """Let pass only what no page of another site has sent; what only looks passes.

    Raises:
        Problem: A browser says that another site's page has sent it.
    """
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    host = request.headers.get("host", "").lower()
    is_own = origin is None or origin.partition("://")[2].lower() == host
    if (site is not None and site not in _OWN) or not is_own:
        raise Problem("origin-foreign", f"a page of {origin or 'another site'} has sent this")


def _name_in(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()
