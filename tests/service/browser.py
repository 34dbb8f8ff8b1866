"""A real browser for the tests of the dashboard: Chromium, as the system has it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

expect.set_options(timeout=20_000)

__all__ = ["chromium", "dashboard_page", "section", "violations"]

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_MILLISECONDS = 10_000
_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
_LOCAL = ("data", "blob", "about")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser. Skips the test where there is none."""
    path = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def dashboard_page(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A page of a browser that nobody has used before.

    At the end it is checked that the console had no error, and that nothing was asked of another host.

    Args:
        browser: The browser.
        url: The service's.
        **options: As of ``Browser.new_context``.
    """
    options = {"viewport": {"width": 1280, "height": 900}, "locale": "en-US", **options}
    context: BrowserContext = browser.new_context(base_url=url, **options)
    context.set_default_timeout(_MILLISECONDS)
    page = context.new_page()
    errors: list[str] = []
    foreign: list[str] = []

    def note_request(asked: str) -> None:
        parts = urlsplit(asked)
        if parts.scheme not in _LOCAL and parts.netloc != urlsplit(url).netloc:
            foreign.append(asked)

    # The console notes each answer that is an error, too; what the page says of it is for tests to look at.
    page.on(
        "console",
        lambda said: (
            errors.append(said.text)
            if said.type == "error" and not said.text.startswith("Failed to load resource")
            else None
        ),
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: note_request(request.url))
    try:
        yield page
        assert errors == []
        assert foreign == []
    finally:
        context.close()


def section(page: Page, place: str, heading: str | None = None) -> Page:
    """Open a section of the dashboard, and wait until it is filled."""
    page.goto("about:blank")
    page.goto(f"/#{place}")
    page.wait_for_selector("#view h1")
    if heading is not None:
        page.get_by_role("heading", name=heading, level=1).wait_for()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    return page


def violations(page: Page) -> list[str]:
    """What axe-core finds against WCAG 2.2 A and AA: rule, element, and what is wrong."""
    found = Axe().run(page, options=_RULES).response["violations"]
    return [
        f"{one['id']}: {node['html'][:200]} ({node['failureSummary']})"
        for one in found
        for node in one["nodes"]
    ]
