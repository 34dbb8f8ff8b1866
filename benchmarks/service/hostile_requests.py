"""Requests that nobody should send, by kind: each as the bytes that go over a connection, piece by piece."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from urllib.parse import quote

from benchmarks.service.hostile_values import NASTY, allowed, as_json, nested, spoilt

__all__ = ["KINDS", "SLOW", "Attack", "Routes", "Target", "targets_in"]

_BODIES = ("post", "put", "patch", "delete")
_PLAIN = "application/json"
_LENGTHS = (b"-1", b"+5", b"5, 7", b"0x10", b"99999999999999999999", b"abc", b"", b"5\r\nContent-Length: 7")
_METHODS = (
    b"TRACE",
    b"CONNECT",
    b"OPTIONS",
    b"HEAD",
    b"PUT",
    b"PATCH",
    b"DELETE",
    b"PRI",
    b"get",
    b"M" * 9_000,
)
_TYPES = (
    "text/plain",
    "application/xml",
    "multipart/form-data; boundary=x",
    "application/json; charset=utf-7",
    "\xff",
)
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Target:
    """A route.

    Attributes:
        method: Of HTTP.
        path: With names in braces.
        body: What the description says of its body; None: there is none.
        kind: Content-Type of the body.
        query: Names of parameters.
    """

    method: str
    path: str
    body: Mapping[str, Any] | None
    kind: str
    query: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attack:
    """What is sent over one connection.

    Attributes:
        pieces: One after the other.
        seconds: Between them.
        ends: Whether the sender says that there is no more; else it keeps the connection.
        hangs_up: Whether it goes away without reading.
    """

    pieces: tuple[bytes, ...]
    seconds: float = 0.0
    ends: bool = False
    hangs_up: bool = False


class Routes:
    """Draws requests to what there is.

    Args:
        targets: All routes.
        schemas: That their bodies name.
        chance: Draws.
    """

    def __init__(self, targets: list[Target], schemas: Mapping[str, Any], chance: random.Random) -> None:
        self.chance = chance
        self._schemas = schemas
        self._targets = targets
        self._with_body = [one for one in targets if one.body is not None]

    def any(self) -> Target:
        return self.chance.choice(self._targets)

    def with_body(self) -> Target:
        return self.chance.choice(self._with_body)

    def body(self, target: Target) -> Any:
        return allowed(target.body or {}, self._schemas, self.chance)

    def path(self, target: Target, *, is_nasty: bool = False) -> str:
        path = target.path
        while "{" in path:
            before, _, after = path.partition("{")
            path = before + self._word(is_nasty) + after.partition("}")[2]
        if target.query and (is_nasty or self.chance.random() < 0.3):
            names = self.chance.sample(target.query, self.chance.randint(1, len(target.query)))
            path += "?" + "&".join(f"{name}={self._word(is_nasty)}" for name in names)
        return path

    def _word(self, is_nasty: bool) -> str:
        if not is_nasty:
            return "desk"
        if self.chance.random() < 0.3:
            return self.chance.choice(
                ["%00", "%ff%fe", "%ED%A0%80", "..%2f..%2f", "%", "%u0041", "%0d%0aX:1"]
            )
        value = self.chance.choice(NASTY)
        return quote(str(value)[:6_000].encode("utf-8", "surrogatepass"))

    def request(self, target: Target, body: bytes, *headers: bytes, kind: str | None = None) -> bytes:
        """A whole one, as it should be but for what is given."""
        return _request(
            target.method.encode(), self.path(target).encode(), body, *headers, kind=kind or target.kind
        )

    def sound(self) -> bytes:
        """One that nothing is wrong with."""
        target = self.any()
        return self.request(target, as_json(self.body(target)) if target.body is not None else b"")


def targets_in(description: Mapping[str, Any]) -> tuple[list[Target], Mapping[str, Any]]:
    """The routes that an OpenAPI document describes, and its schemas."""
    found = []
    for path, methods in description["paths"].items():
        for method, told in methods.items():
            content = told.get("requestBody", {}).get("content", {})
            kind = next(iter(content), _PLAIN)
            body = content[kind].get("schema", {}) if method in _BODIES and content else None
            query = tuple(one["name"] for one in told.get("parameters", ()) if one["in"] == "query")
            found.append(Target(method.upper(), path, body, kind, query))
    return found, description["components"]["schemas"]


def _request(method: bytes, path: bytes, body: bytes, *headers: bytes, kind: str = _PLAIN) -> bytes:
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: 127.0.0.1"]
    if body:
        lines.append(b"Content-Type: " + kind.encode("latin-1"))
    if not any(line.lower().startswith((b"content-length", b"transfer-encoding")) for line in headers):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, *headers, b"", body])


def _random_bytes(routes: Routes) -> Attack:
    chance = routes.chance
    return Attack((chance.randbytes(chance.choice([1, 30, 5_000, 200_000])),), ends=chance.random() < 0.5)


def _broken_http(routes: Routes) -> Attack:
    """A sound request of which some bytes are others, or are missing."""
    chance, sent = routes.chance, bytearray(routes.sound())
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(sent))
        if chance.random() < 0.5:
            sent[place] = chance.randrange(256)
        else:
            del sent[place : place + chance.randint(1, 5)]
    return Attack((bytes(sent),), ends=chance.random() < 0.5)


def _huge_header(routes: Routes) -> Attack:
    header = b"X-Long: " + b"a" * routes.chance.choice([60_000, 100_000, 5 * _MIB])
    return Attack((routes.request(routes.any(), b"", header),))


def _many_headers(routes: Routes) -> Attack:
    headers = [b"X-%d: %d" % (number, number) for number in range(routes.chance.choice([1_000, 100_000]))]
    return Attack((routes.request(routes.any(), b"", *headers),))


def _odd_method(routes: Routes) -> Attack:
    chance, target = routes.chance, routes.any()
    path = chance.choice(
        [
            routes.path(target).encode(),
            b"*",
            b"http://elsewhere.example/v1/predict",
            b"//",
            b"/" + b"a" * 70_000,
        ]
    )
    more = chance.choice([(), (b"Upgrade: websocket", b"Connection: Upgrade"), (b"Expect: 100-continue",)])
    return Attack((_request(chance.choice(_METHODS), path, b"", *more),))


def _slow_head(routes: Routes) -> Attack:
    return Attack(tuple(bytes([one]) for one in routes.sound()[:60]), seconds=1.0)


def _slow_body(routes: Routes) -> Attack:
    target = routes.with_body()
    sent = routes.request(target, b'{"text": "' + b"a" * 100 + b'"}')
    head, _, body = sent.partition(b"\r\n\r\n")
    return Attack((head + b"\r\n\r\n", *(bytes([one]) for one in body)), seconds=1.0)


def _cut_off(routes: Routes) -> Attack:
    sent = routes.request(routes.with_body(), b'{"text": "' + b"a" * 5_000 + b'"}')
    cut = sent[: -routes.chance.randint(1, 5_000)]
    return Attack((cut,), ends=True, hangs_up=routes.chance.random() < 0.5)


def _wrong_length(routes: Routes) -> Attack:
    target, chance = routes.with_body(), routes.chance
    body = as_json(routes.body(target))
    length = chance.choice([*_LENGTHS, b"%d" % (len(body) // 2), b"%d" % (len(body) + 9)])
    more = (b"Transfer-Encoding: chunked",) if chance.random() < 0.3 else ()
    return Attack((routes.request(target, body, b"Content-Length: " + length, *more),))


def _chunked_nonsense(routes: Routes) -> Attack:
    chance = routes.chance
    sizes = [b"0", b"5", b"ffffffffffffffff", b"-1", b"zz", b"5;" + b"x" * 70_000, b"", b"1" * 400]
    body = b"".join(
        chance.choice(sizes) + b"\r\n" + chance.choice([b"hello", b"{}", b""]) + b"\r\n"
        for _ in range(chance.randint(1, 30))
    )
    return Attack((routes.request(routes.with_body(), body, b"Transfer-Encoding: chunked"),))


@cache
def _bomb() -> bytes:
    return gzip.compress(b" " * (64 * _MIB))


def _gzip_bomb(routes: Routes) -> Attack:
    coding = routes.chance.choice([b"gzip", b"GZIP, gzip", b"deflate", b"br", b"identity, gzip", b"x-gzip"])
    return Attack((routes.request(routes.with_body(), _bomb(), b"Content-Encoding: " + coding),))


def _deep_json(routes: Routes) -> Attack:
    return Attack((routes.request(routes.with_body(), nested(routes.chance)),))


def _broken_json(routes: Routes) -> Attack:
    chance, target = routes.chance, routes.with_body()
    sound = as_json(routes.body(target))
    text = sound.decode()
    body = chance.choice(
        [
            sound[: len(sound) // 2],
            sound + sound,
            b"\xef\xbb\xbf" + sound,
            text.encode("utf-16"),
            sound.replace(b"a", b"\xff"),
            sound.replace(b'"', b"'"),
            b"",
            b"\x00" * 100,
            b'{"text": "a", "text": 1, "text": ["b"]}',
            b'{"text": "' + b"\xed\xa0\x80" + b'"}',
            b"1" * 5_000,
            b"NaN",
            b"-Infinity",
            b'"\\ud800"',
        ]
    )
    return Attack((routes.request(target, body),))


def _spoilt_json(routes: Routes) -> Attack:
    target = routes.with_body()
    body = routes.body(target)
    for _ in range(routes.chance.randint(1, 2)):
        body = spoilt(body, routes.chance)
    return Attack((routes.request(target, as_json(body)),))


def _spoilt_path(routes: Routes) -> Attack:
    target = routes.any()
    body = as_json(routes.body(target)) if target.body is not None else b""
    path = routes.path(target, is_nasty=True).encode()
    return Attack((_request(target.method.encode(), path, body, kind=target.kind),))


def _wrong_type(routes: Routes) -> Attack:
    target = routes.with_body()
    return Attack((routes.request(target, as_json(routes.body(target)), kind=routes.chance.choice(_TYPES)),))


def _upload(routes: Routes) -> Attack:
    """Lines of a file, among them such as are none."""
    chance = routes.chance
    lines = [
        chance.choice(
            [
                as_json(spoilt({"id": "u", "text": "a text", "target": "t", "fields": {"a": 1}}, chance)),
                chance.randbytes(40),
                nested(chance)[:20_000],
                b"",
            ]
        )
        for _ in range(chance.randint(1, 20))
    ]
    return Attack((_request(b"POST", b"/v1/jobs", b"\n".join(lines), kind="application/x-ndjson"),))


def _pipelined(routes: Routes) -> Attack:
    chance = routes.chance
    sent = b"".join(routes.sound() for _ in range(chance.choice([2, 20, 200])))
    return Attack((sent,), hangs_up=chance.random() < 0.5)


def _gone(routes: Routes) -> Attack:
    """A sound request whose sender is gone before it is answered."""
    return Attack((routes.sound(),), hangs_up=True)


def _sound(routes: Routes) -> Attack:
    """A sound request: what is answered to it may be a refusal, but no error of the service's."""
    return Attack((routes.sound(),))


def _byte_by_byte(make: Callable[[Routes], Attack]) -> Callable[[Routes], Attack]:
    """The same in pieces of a few bytes, without waiting."""

    def made(routes: Routes) -> Attack:
        attack = make(routes)
        sent = b"".join(attack.pieces)[:400]
        return replace(attack, pieces=tuple(sent[at : at + 3] for at in range(0, len(sent), 3)), ends=True)

    return made


KINDS: Mapping[str, Callable[[Routes], Attack]] = {
    "random bytes": _random_bytes,
    "broken HTTP": _broken_http,
    "a huge header": _huge_header,
    "many headers": _many_headers,
    "odd methods and addresses": _odd_method,
    "bodies cut off": _cut_off,
    "wrong lengths": _wrong_length,
    "chunked nonsense": _chunked_nonsense,
    "compressed bombs": _gzip_bomb,
    "nested JSON": _deep_json,
    "broken JSON": _broken_json,
    "JSON with something wrong in it": _spoilt_json,
    "paths and queries with something wrong in them": _spoilt_path,
    "other types of content": _wrong_type,
    "uploads": _upload,
    "pipelined": _pipelined,
    "gone before the answer": _gone,
    "in tiny pieces": _byte_by_byte(_spoilt_json),
    "sound": _sound,
}
"""What senders draw from."""

SLOW: Mapping[str, Callable[[Routes], Attack]] = {
    "a head that comes byte by byte": _slow_head,
    "a body that comes byte by byte": _slow_body,
}
"""What those draw from who have time."""
