"""The page at /docs: the whole API, with nothing from elsewhere, and lines that can be asked."""

from __future__ import annotations

import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.running import Running, running

from everlearn.service.description_page import description_page

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Read(HTMLParser):
    """What a page has: articles by id, links, tags, and text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.names: dict[str, set[str]] = {}
        self.headings: list[str] = []
        self.lines: list[str] = []
        self._open: list[tuple[str, str]] = []
        self._article = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        assert not [name for name in given if name.startswith("on") or name == "style"]
        self.tags.add(tag)
        self.links += [given[name] for name in ("href", "src", "action") if name in given]
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "article":
            self._article = given["id"]
            self.names[self._article] = set()
        if tag == "h3":
            self.headings.append("")
        if tag == "pre":
            self.lines.append("")
        if tag not in ("meta", "link", "br"):
            self._open.append((tag, given.get("class", "")))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tags = [tag for tag, _ in self._open]
        if self._open and self._open[-1] == ("code", "name"):
            self.names[self._article].add(data)
        if "h3" in tags:
            self.headings[-1] += data
        if "pre" in tags:
            self.lines[-1] += data


def operations_of(told: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, operations in told["paths"].items()
        for method, operation in operations.items()
    ]


def fields_of(schema: Any, models: dict[str, Any]) -> set[str]:
    """Names of all fields, those of nested objects included."""
    found: set[str] = set()
    seen: set[str] = set()

    def look(one: Any) -> None:
        if isinstance(one, list):
            for inner in one:
                look(inner)
        elif isinstance(one, dict):
            name = one.get("$ref")
            if isinstance(name, str) and name not in seen:
                seen.add(name)
                look(models[name.rpartition("/")[2]])
            found.update(one.get("properties", {}))
            for inner in one.get("properties", {}).values():
                look(inner)
            look([one.get("anyOf"), one.get("oneOf"), one.get("items"), one.get("additionalProperties")])

    look(schema)
    return found


def test_the_page_has_every_operation_and_every_field(service: Running) -> None:
    answer = service.client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    told, page = service.get("/openapi.json"), Read(answer.text)
    operations = operations_of(told)
    assert len(operations) > 50
    assert sorted(page.headings) == sorted(f"{method} {path}" for method, path, _ in operations)
    assert len(page.ids) == len(set(page.ids))
    named = dict(zip(page.headings, page.names.values(), strict=True))
    for method, path, operation in operations:
        wanted = {one["name"] for one in operation.get("parameters", ())}
        for content in operation.get("requestBody", {}).get("content", {}).values():
            wanted |= fields_of(content["schema"], told["components"]["schemas"])
        assert wanted <= named[f"{method} {path}"], f"{method} {path}"
        assert len(operation["summary"].split()) > 1, f"{method} {path}: {operation['summary']}"
    assert {"text", "target", "examples"} <= named["POST /v1/learn"]


def test_nothing_of_the_page_comes_from_elsewhere(service: Running) -> None:
    page = Read(service.client.get("/docs").text)
    assert not page.tags & {"script", "style", "iframe", "img", "form", "object"}
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        else:
            assert re.match(r"/(?!/)", link), link
            assert service.client.get(link).status_code == 200, link
    assert {httpx.URL(word).host for line in page.lines for word in shlex.split(line) if "://" in word} == {
        "127.0.0.1"
    }
    for path in ("/redoc", "/docs/oauth2-redirect"):
        assert service.client.get(path).status_code == 404


def test_a_strange_host_is_not_repeated(service: Running) -> None:
    for host in ("a'b$(id)<script>", "a_b;id"):
        content = service.client.get("/docs", headers={"host": host}).text
        assert "<script" not in content
        assert "$(id)" not in content
        assert ";id/" not in content
        assert re.search(r"http://(localhost:8600|127\.0\.0\.1:\d+)/v1/learn", content)


def test_what_is_described_is_escaped() -> None:
    bad = "<script>alert(1)</script>"
    schema = {"type": "object", "properties": {bad: {"type": "string", "description": bad, "default": bad}}}
    told = {
        "info": {"title": bad, "version": bad, "description": bad},
        "paths": {
            f"/{bad}": {
                "post": {
                    "tags": [bad],
                    "description": bad,
                    "requestBody": {"content": {bad: {"schema": {"$ref": "#/components/schemas/A"}}}},
                    "responses": {bad: {"description": bad}},
                }
            }
        },
        "components": {"schemas": {"A": schema}},
    }
    page = Read(description_page(told, "http://localhost"))
    assert "script" not in page.tags
    assert page.headings == [f"POST /{bad}"]


def test_every_line_can_be_asked(desk: Path) -> None:
    """What is not there is told so; no body is of another shape than the service wants."""
    with running(desk) as service:
        lines = Read(service.client.get("/docs").text).lines
        asked = 0
        for line in lines:
            words = shlex.split(line)
            assert words[:2] == ["curl", "-s"]
            url = next(word for word in words if word.startswith("http"))
            if url.endswith("/v1/events"):  # it has no end
                continue
            data = words[words.index("--data-binary") + 1] if "--data-binary" in words else None
            method = words[words.index("-X") + 1] if "-X" in words else "GET" if data is None else "POST"
            headers = dict([words[words.index("-H") + 1].split(": ")]) if "-H" in words else {}
            assert method in METHODS
            body = None if data is None else data.encode()
            answer = service.client.request(method, url, headers=headers, content=body)
            assert answer.status_code not in (400, 405, 415, 500), f"{line}\n{answer.text}"
            if answer.status_code == 422:
                assert answer.json().get("code") != "request-invalid", f"{line}\n{answer.text}"
            asked += 1
        assert asked > 50


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_read_narrow_and_in_the_dark(service: Running, scheme: Any) -> None:
    from tests.service.browser import chromium, violations

    with chromium() as browser:
        context = browser.new_context(color_scheme=scheme, viewport={"width": 360, "height": 800})
        page = context.new_page()
        page.goto(f"{service.url}/docs")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert violations(page) == []
        context.close()
