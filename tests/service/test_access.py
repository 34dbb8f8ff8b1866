"""Who may do what: roles by routes by tenants, over all routes; keys, and how often one may ask."""

from __future__ import annotations

import hmac
import inspect
import json
import logging
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from tests.service.running import Running, running

from everlearn.errors import ConfigError, StateError
from everlearn.service import keys as keys_module
from everlearn.service.access import RateLimit
from everlearn.service.app import create_app
from everlearn.service.folder import service_folder
from everlearn.service.keys import KEYS_FILE, ROLES, Key, Keys, Role, add_key, read_keys, remove_key
from everlearn.service.service import Service
from everlearn.settings.service import ServiceConfig

PUBLIC = {
    "/",
    "/dashboard/{name:path}",
    "/docs",
    "/healthz",
    "/openapi.json",
    "/problems/{code}",
    "/readyz",
}
"""Paths that tell nothing of what is learned, and need no key."""

SIGN_IN = ("POST", "/v1/session")
"""Brings its key in the body."""

EVENTS = "/v1/events"


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    role: Role | None

    @property
    def is_public(self) -> bool:
        return self.path in PUBLIC or (self.method, self.path) == SIGN_IN or is_ping(self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def is_ping(path: str) -> bool:
    """What protocols of others ask to see whether a service is there."""
    return path == "/v2" or path.rpartition("/")[2] in ("health", "ping", "live", "ready", "version")


@pytest.fixture(scope="module")
def place(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(learned, tmp_path_factory.mktemp("guarded") / "desk"))


@pytest.fixture(scope="module")
def keys(place: Path) -> dict[str, str]:
    """A key of each role, one for another tenant, one that has expired."""
    folder = service_folder(place)
    made: dict[str, str] = {role: add_key(folder, role, role) for role in ROLES}
    made["other"] = add_key(folder, "other", "admin", tenants=["other"])
    made["expired"] = add_key(folder, "expired", "admin", expires_days=-1)
    return made


@pytest.fixture(scope="module")
def guarded(place: Path, keys: dict[str, str]) -> Iterator[Running]:
    with running(place) as service:
        yield service


def ask(service: Running, route: Route, key: str | None) -> httpx.Response:
    """Ask a route with nothing in it: what is missing is found after who asks."""
    path = re.sub(r"\{[^}]*\}", "none", route.path)
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    body: dict[str, str] | None = {} if route.method in ("POST", "PUT", "PATCH") else None
    with service.client.stream(route.method, path, headers=headers, json=body) as answer:
        if route.path != EVENTS or answer.status_code != 200:  # it has no end
            answer.read()
        return answer


def routes_of(app: Any) -> list[Route]:
    found = []
    for route in iter_route_contexts(app.routes):
        roles = _roles(route.dependant) if hasattr(route, "dependant") else []
        found += [
            Route(method, str(route.path), roles[0] if roles else None)
            for method in sorted((route.methods or set()) - {"HEAD"})
        ]
    return found


def _roles(dependant: Any) -> list[Role]:
    """The roles that a route's dependencies ask for (see access.Predictor and the others of its kind)."""
    found = [role for one in dependant.dependencies for role in _roles(one)]
    if getattr(dependant.call, "__module__", "").startswith("everlearn.service."):
        role = inspect.getclosurevars(dependant.call).nonlocals.get("role")
        found += [role] if role in ROLES else []
    return found


def test_every_route_needs_a_role_and_keeps_out_who_has_not(guarded: Running, keys: dict[str, str]) -> None:
    routes = routes_of(create_app(Service(guarded.place, ServiceConfig.given({}))))
    assert len(routes) > 30
    assert [str(route) for route in routes if route.role is None and not route.is_public] == []
    for route in routes:
        if route.role is None:
            continue
        needed = ROLES.index(route.role)
        for position, role in enumerate(ROLES):
            answer = ask(guarded, route, keys[role])
            refused = answer.status_code == 403 and code_of(answer) == "role-too-low"
            assert refused == (position < needed), f"{route} by {role}: {answer.status_code}"
            assert answer.status_code not in (401, 500), f"{route} by {role}: {answer.status_code}"
        for key, code in (
            (None, "key-missing"),
            ("el_guessed", "key-unknown"),
            (keys["expired"], "key-expired"),
        ):
            answer = ask(guarded, route, key)
            assert answer.status_code == 401, f"{route} by {code}: {answer.status_code}"
            assert code_of(answer) in (code, None), f"{route}: {answer.text}"
            assert answer.headers["www-authenticate"] == "Bearer"


def code_of(answer: httpx.Response) -> str | None:
    """Of a problem document; None: the route speaks a protocol with errors of its own."""
    if answer.headers.get("content-type") != "application/problem+json":
        return None
    return str(json.loads(answer.text)["code"])


def test_a_key_of_another_tenant_is_kept_out_of_this_one(guarded: Running, keys: dict[str, str]) -> None:
    headers = {"authorization": f"Bearer {keys['other']}"}
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/predict", {"text": "a", "tenant": "desk"}),
        ("POST", "/v1/learn", {"id": "a", "text": "a", "target": "b", "tenant": "desk"}),
        ("POST", "/v1/correct", {"targets": {"a": "b"}, "tenant": "desk"}),
        ("POST", "/v1/forget", {"ids": ["a"], "tenant": "desk"}),
        ("POST", "/v1/rollback", {"tenant": "desk"}),
        ("POST", "/v1/review", {"accept": ["a"], "tenant": "desk"}),
        *(("GET", f"/v1/{name}?tenant=desk", {}) for name in ("versions", "stats", "journal", "fingerprint")),
        ("GET", "/v1/audit?tenant=desk", {}),
        ("GET", "/v1/blame?tenant=desk&id=a", {}),
        ("GET", "/v1/diff?tenant=desk&first=1&second=1", {}),
        ("GET", "/v1/rollback?tenant=desk&version=1", {}),
        ("GET", "/v1/review?tenant=desk", {}),
        ("GET", "/v1/tenants/desk", {}),
        ("PATCH", "/v1/tenants/desk", {"max_examples": 5}),
        ("DELETE", "/v1/tenants/desk", {}),
    ]
    for method, path, body in asked:
        answer = guarded.client.request(method, path, headers=headers, json=body or None)
        assert (answer.status_code, answer.json()["code"]) == (403, "tenant-forbidden"), f"{method} {path}"
    assert guarded.client.get("/v1/tenants", headers=headers).json()["tenants"] == []


def test_feedback_does_not_reach_another_tenants_prediction(guarded: Running, keys: dict[str, str]) -> None:
    mine, other = ({"authorization": f"Bearer {keys[name]}"} for name in ("label", "other"))
    said = guarded.client.post("/v1/predict", headers=mine, json={"text": "whose is this?"}).json()
    told = {"id": said["predictions"][0]["id"], "target": "stolen"}
    answer = guarded.client.post("/v1/feedback", headers=other, json=told)
    assert answer.status_code in (403, 404)
    assert answer.json()["code"] in ("tenant-forbidden", "prediction-unknown")


def test_changes_of_keys_are_taken_up_by_a_service_that_runs(guarded: Running, place: Path) -> None:
    given = add_key(service_folder(place), "for a while", "predict")
    headers = {"authorization": f"Bearer {given}"}
    assert guarded.client.get("/v1/tenants", headers=headers).status_code == 200
    remove_key(service_folder(place), "for a while")
    answer = guarded.client.get("/v1/tenants", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "key-unknown")


def test_a_service_goes_on_with_its_keys_where_their_file_is_damaged(
    guarded: Running, place: Path, keys: dict[str, str]
) -> None:
    path = service_folder(place) / KEYS_FILE
    kept = path.read_bytes()
    headers = {"authorization": f"Bearer {keys['predict']}"}
    try:
        for damaged in (b'{"format": 1, "keys": [{"na', b"[]", b'{"format": 1, "keys": [{"role": "king"}]}'):
            path.write_bytes(damaged)
            assert guarded.client.get("/v1/tenants", headers=headers).status_code == 200
            assert guarded.client.get("/v1/tenants").status_code == 401
        assert guarded.log().count(f"{KEYS_FILE} cannot be read") == 3
        path.unlink()
        answer = guarded.client.get("/v1/tenants")  # nobody is let in who was kept out
        assert (answer.status_code, answer.json()["code"]) == (401, "key-missing")
        assert guarded.client.get("/v1/tenants", headers=headers).status_code == 401
    finally:
        path.write_bytes(kept)
    assert guarded.client.get("/v1/tenants", headers=headers).status_code == 200


def test_the_audit_log_names_the_key(guarded: Running, keys: dict[str, str]) -> None:
    labels, operates = ({"authorization": f"Bearer {keys[name]}"} for name in ("label", "operate"))
    before = guarded.client.get("/v1/audit", headers=operates, params={"limit": 1_000}).json()["acts"]
    newest = max((act["number"] for act in before), default=0)
    row = {"id": "audited", "text": "who has told you that?", "target": "hearsay"}
    for headers, path, body in (
        (labels, "/v1/learn", row),
        (labels, "/v1/correct", {"targets": {"audited": "gossip"}}),
        (operates, "/v1/labels/rename", {"from": "gossip", "to": "rumour"}),
        (operates, "/v1/forget", {"where": {"nothing": "like this"}, "ids": ["nobody", "audited"]}),
        (operates, "/v1/forget", {"ids": ["audited"]}),
        (operates, "/v1/rollback", {}),
    ):
        guarded.client.post(path, headers=headers, json=body)
    acts = guarded.client.get("/v1/audit", headers=operates, params={"after": newest}).json()["acts"]
    told = [(act["author"], act["kind"], act["examples"], act["ids"]) for act in acts]
    assert told[:3] == [("label", "learn", 1, []), ("label", "correct", 1, []), ("operate", "rename", 1, [])]
    assert told[-2:] == [("operate", "forget", 1, []), ("operate", "rollback", 0, [])]
    assert [act["number"] for act in acts] == sorted(act["number"] for act in acts)
    later = guarded.client.get(
        "/v1/audit", headers=operates, params={"after": acts[0]["number"], "limit": 1}
    ).json()["acts"]
    assert later == [acts[1]]
    newest_first = guarded.client.get(
        "/v1/audit", headers=operates, params={"newest": True, "limit": 2, "after": acts[-1]["number"] + 1}
    ).json()
    assert newest_first["acts"] == acts[:-3:-1]
    assert newest_first["next"] == acts[-2]["number"]
    by_label = {"author": "label", "after": newest, "kind": "learn"}
    one = guarded.client.get("/v1/audit", headers=operates, params=by_label).json()
    assert (one["acts"], one["next"]) == ([acts[0]], None)
    nobody = guarded.client.get("/v1/audit", headers=operates, params={"author": "' OR 1"}).json()
    assert (nobody["acts"], nobody["next"]) == ([], None)
    everything = json.dumps(acts)
    assert "audited" not in everything
    assert "gossip" not in everything
    assert "rumour" not in everything


# Keys by themselves


def test_only_hashes_are_stored_for_nobody_else_to_read(desk: Path) -> None:
    given = add_key(service_folder(desk), "a", "admin")
    path = service_folder(desk) / KEYS_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert given not in path.read_text()
    assert len(given) > 40
    for file in service_folder(desk).iterdir():
        assert given.encode() not in file.read_bytes()


def test_keys_are_compared_in_constant_time(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key is compared, the whole of its hash, whichever it is that was given."""
    given = [add_key(service_folder(desk), f"key {k}", "predict") for k in range(4)]
    keys = Keys(service_folder(desk))
    compared: list[str] = []
    compare = hmac.compare_digest

    def counted(stored: str, asked: str) -> bool:
        compared.append(stored)
        return compare(stored, asked)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    for one in [*given, "el_unknown", ""]:
        compared.clear()
        keys.find(one)
        assert len(compared) == len(given)
    found = keys.find(given[2])
    assert found is not None
    assert found.name == "key 2"


def test_a_key_expires(desk: Path) -> None:
    given = add_key(service_folder(desk), "soon", "predict", expires_days=1)
    key = Keys(service_folder(desk)).find(given)
    assert key is not None
    assert not key.has_expired
    path = service_folder(desk) / KEYS_FILE
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    path.write_text(path.read_text().replace(str(key.expires), past))
    expired = Keys(service_folder(desk)).find(given)
    assert expired is not None
    assert expired.has_expired


def test_the_file_is_read_only_when_it_has_changed(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_key(service_folder(desk), "a", "predict")
    keys = Keys(service_folder(desk))
    reads: list[Path] = []

    def counted(folder: Path) -> list[Key]:
        reads.append(folder)
        return read_keys(folder)

    monkeypatch.setattr(keys_module, "read_keys", counted)
    for _ in range(100):
        keys.refresh()
    assert reads == []
    (service_folder(desk) / KEYS_FILE).write_text("damaged")
    logging.disable()
    try:
        for _ in range(100):
            keys.refresh()
    finally:
        logging.disable(logging.NOTSET)
    assert len(reads) == 1
    assert len(keys) == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 2, "keys": []}',
        '{"format": 1, "keys": 3}',
        '{"format": 1, "keys": ["a"]}',
        '{"format": 1, "keys": [{"name": "a"}]}',
        "\udcff",
    ],
)
def test_a_damaged_file_of_keys_is_told_at_the_start(desk: Path, content: str) -> None:
    service_folder(desk).mkdir()
    (service_folder(desk) / KEYS_FILE).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(StateError, match=r"cannot be read: .*; restore it, or delete it and make new keys"):
        Keys(service_folder(desk))


def test_names_and_roles_are_checked(desk: Path) -> None:
    folder = service_folder(desk)
    add_key(folder, "a", "predict")
    with pytest.raises(ConfigError, match="there is a key named 'a'"):
        add_key(folder, "a", "predict")
    with pytest.raises(ConfigError, match="role must be one of"):
        add_key(folder, "b", "king")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no name for a key"):
        add_key(folder, "\n", "predict")
    with pytest.raises(ConfigError, match="there is no key named 'c'"):
        remove_key(folder, "c")
    assert [key.name for key in read_keys(folder)] == ["a"]


def test_an_address_for_others_needs_keys(desk: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "everlearn", "serve", str(desk), "--host", "0.0.0.0", "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == ConfigError.exit_code
    assert "there are no keys: make one first" in ended.stderr


# How often one asks


class Clock:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_rate_is_kept_to_and_says_when_to_ask_again() -> None:
    clock = Clock()
    limit = RateLimit(30, clock)
    assert [limit.take("a") for _ in range(30)] == [None] * 30
    assert limit.take("a") == pytest.approx(2)
    assert limit.take("b") is None  # each has a bucket of their own
    clock.now += 2
    assert limit.take("a") is None
    assert limit.take("a") == pytest.approx(2)
    clock.now += 3_600
    assert [limit.take("a") for _ in range(31)].count(None) == 30
    slow = RateLimit(0.5, clock)
    assert slow.take("a") is None
    assert slow.take("a") == pytest.approx(120)


def test_a_time_of_day_that_jumps_changes_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = RateLimit(2)
    for jump in (0, 1e9, -1e9):
        monkeypatch.setattr(time, "time", lambda jump=jump: 1.7e9 + jump)
        limit.take("a")
    assert limit.take("a") is not None
