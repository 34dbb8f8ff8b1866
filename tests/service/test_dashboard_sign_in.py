"""Signing in to the dashboard, what a session may and may not, and whom a service without keys answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest
from playwright.sync_api import expect
from tests.service.browser import chromium, dashboard_page, section, violations
from tests.service.running import Running, demo_rows, running

from everlearn import Example, Hub
from everlearn.service.folder import service_folder
from everlearn.service.keys import add_key, remove_key
from everlearn.service.sessions import Sessions

CSRF = "X-CSRF-Token"


@dataclass(frozen=True)
class Keyed:
    """A service of a hub, with its keys by name."""

    service: Running
    keys: dict[str, str]

    def client(self) -> httpx.Client:
        """One that brings nothing by itself but its cookies."""
        return httpx.Client(base_url=self.service.url, timeout=60)

    @contextmanager
    def signed_in(self, name: str) -> Iterator[httpx.Client]:
        """One with the cookie of a sign-in."""
        with self.client() as client:
            answer = client.post("/v1/session", json={"key": self.keys[name]})
            assert answer.status_code == 200, answer.text
            yield client


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    place = tmp_path_factory.mktemp("keyed") / "support"
    with Hub.open(place) as hub:
        for start, name in enumerate(("acme", "globex")):
            hub.add(name, {"run.keep_text": True})
            rows = demo_rows(20, start=20 * start)
            hub.learn(name, [Example(id=row["id"], text=row["text"], target=row["target"]) for row in rows])
    folder = service_folder(place)
    keys = {
        "boss": add_key(folder, "boss", "admin"),
        "asker": add_key(folder, "asker", "predict", tenants=["acme"]),
        "gone": add_key(folder, "gone", "operate"),
        "out": add_key(folder, "out", "admin"),
    }
    with running(place) as service:
        yield Keyed(service, keys)


def test_a_sign_in_is_a_cookie_that_no_script_reads(keyed: Keyed) -> None:
    with keyed.client() as client:
        answer = client.post("/v1/session", json={"key": keyed.keys["boss"]})
        told = answer.json()
        assert (told["name"], told["role"], told["tenants"], told["needs_key"]) == (
            "boss",
            "admin",
            None,
            True,
        )
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "max-age=43200" in cookie
        assert "secure" not in cookie
        assert keyed.keys["boss"] not in cookie
        assert client.get("/v1/session").json() == told
        assert client.get("/v1/tenants").json()["tenants"] == ["acme", "globex"]
        over_https = client.post(
            "/v1/session", json={"key": keyed.keys["boss"]}, headers={"X-Forwarded-Proto": "https"}
        )
        assert "; secure" in over_https.headers["set-cookie"].lower()


def test_a_wrong_key_signs_nobody_in(keyed: Keyed) -> None:
    with keyed.client() as client:
        answer = client.post("/v1/session", json={"key": "el_wrong"})
        assert (answer.status_code, answer.json()["code"]) == (401, "key-unknown")
        assert "set-cookie" not in answer.headers
        assert client.get("/v1/session").json()["code"] == "key-missing"


def test_what_changes_something_needs_the_token_beside_the_cookie(keyed: Keyed) -> None:
    with keyed.signed_in("boss") as client:
        body = {"tenant": "acme", "text": "a text of the dashboard"}
        for headers in ({}, {CSRF: "wrong"}, {CSRF: ""}):
            answer = client.post("/v1/predict", json=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "csrf-missing")
        token = client.get("/v1/session").json()["csrf_token"]
        assert client.post("/v1/predict", json=body, headers={CSRF: token}).status_code == 200
        # A key that is sent by a program needs none.
        bearer = {"Authorization": f"Bearer {keyed.keys['boss']}"}
        assert client.post("/v1/predict", json=body, headers=bearer).status_code == 200


def test_a_session_may_what_its_key_may(keyed: Keyed) -> None:
    with keyed.signed_in("asker") as client:
        headers = {CSRF: client.get("/v1/session").json()["csrf_token"]}
        body = {"tenant": "globex", "text": "a text of another tenant"}
        assert client.post("/v1/predict", json=body, headers=headers).json()["code"] == "tenant-forbidden"
        assert (
            client.post("/v1/forget", json={"ids": ["a"]}, headers=headers).json()["code"] == "role-too-low"
        )
        assert client.get("/v1/service").json()["code"] == "role-too-low"


def test_a_session_ends_with_signing_out_and_with_its_key(keyed: Keyed) -> None:
    with keyed.signed_in("out") as client:
        cookies = dict(client.cookies)
        headers = {CSRF: client.get("/v1/session").json()["csrf_token"]}
        assert client.delete("/v1/session").json()["code"] == "csrf-missing"
        assert client.delete("/v1/session", headers=headers).json() == {"ended": True}
        assert client.get("/v1/session").json()["code"] == "key-missing"
        client.cookies.update(cookies)  # whoever has kept the cookie has nothing
        assert client.get("/v1/session").json()["code"] == "session-ended"
    with keyed.signed_in("gone") as client:
        assert client.get("/v1/session").status_code == 200
        remove_key(service_folder(keyed.service.place), "gone")
        assert client.get("/v1/session").json()["code"] == "session-ended"


def test_sessions_end_by_themselves_and_are_bounded() -> None:
    sessions = Sessions(seconds=0.05, most=2)
    token, session = sessions.open("a" * 64)
    assert sessions.find(token) is session
    assert sessions.find("another") is None
    time.sleep(0.1)
    assert sessions.find(token) is None
    assert len(sessions) == 0
    bounded = Sessions(most=2)
    first, *others = (bounded.open("b" * 64)[0] for _ in range(3))
    assert bounded.find(first) is None
    assert all(bounded.find(one) is not None for one in others)
    assert len(bounded) == 2


def test_pages_of_other_sites_cannot_act_where_there_are_no_keys(service: Running) -> None:
    body = {"text": "sent by a page of another site"}
    own = service.url
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": own.replace("127.0.0.1", "localhost")},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        answer = service.client.post("/v1/predict", json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "origin-foreign"), headers
    for headers in ({}, {"Origin": own, "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        assert service.client.post("/v1/predict", json=body, headers=headers).status_code == 200, headers


def test_a_name_that_another_site_makes_point_here_is_refused(service: Running) -> None:
    for host in (
        "evil.example",
        "evil.example:8600",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "[bad",
    ):
        answer = service.client.get("/v1/stats", headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (403, "host-foreign"), host
    for host in ("localhost", "localhost:1234", "127.0.0.1", "[::1]:8600"):
        assert service.client.get("/v1/stats", headers={"Host": host}).status_code == 200, host


def test_nobody_signs_in_where_there_are_no_keys(service: Running) -> None:
    told = service.client.get("/v1/session").json()
    assert (told["name"], told["role"], told["needs_key"]) == ("anybody", "admin", False)
    answer = service.client.post("/v1/session", json={"key": "any"})
    assert "set-cookie" not in answer.headers
    assert answer.json()["csrf_token"] is None


def test_the_page_is_strict_about_what_it_runs(service: Running) -> None:
    page = service.client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "<style" not in page.text
    assert " style=" not in page.text
    assert page.text.count("<script") == page.text.count('<script type="module" src=')
    again = service.client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert again.status_code == 304
    for name in ("nothing.js", "../server.py", "..%2fserver.py", "%2e%2e/%2e%2e/version.py", "/etc/passwd"):
        assert service.client.get(f"/dashboard/{name}").status_code == 404, name


def test_one_signs_in_chooses_a_tenant_and_signs_out(keyed: Keyed) -> None:
    with chromium() as browser, dashboard_page(browser, keyed.service.url) as page:
        page.goto("/")
        field = page.get_by_label("Key")
        expect(field).to_be_focused()
        assert violations(page) == []
        field.fill("el_wrong")
        page.keyboard.press("Enter")
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("The key is not known, or has been removed")
        expect(alert).to_contain_text("Ask for a new one")
        field.fill(keyed.keys["boss"])
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Overview acme")).to_be_visible()
        assert keyed.keys["boss"] not in page.evaluate(
            "JSON.stringify([localStorage, sessionStorage, document.cookie])"
        )
        page.get_by_label("Tenant").select_option("globex")
        expect(page.get_by_role("heading", name="Overview globex")).to_be_visible()
        section(page, "labels", "Labels")
        expect(page.get_by_label("Tenant")).to_have_value("globex")
        labels = keyed.service.client.get(
            "/v1/labels",
            params={"tenant": "globex"},
            headers={"Authorization": f"Bearer {keyed.keys['boss']}"},
        ).json()["labels"]
        expect(page.locator("tbody tr")).to_have_count(len(labels))
        section(page, "try?text=a text for globex")
        page.get_by_role("button", name="That is right").click()
        expect(page.locator(".notice.good")).to_contain_text("as it was predicted")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Key")).to_be_visible()

        page.get_by_label("Key").fill(keyed.keys["asker"])
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.locator("#sections a")).to_have_text(
            ["Overview", "Try a text", "Versions", "Labels", "Tenants"]
        )
        section(page, "examples", "Overview")  # which this key may not open
