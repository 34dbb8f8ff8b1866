"""Tenants of a hub and the audit log on the dashboard: what is shown is the API's, to whom it may be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.service.browser import chromium, dashboard_page, section, violations
from tests.service.running import Running, demo_rows, running

from everlearn import Example, Hub
from everlearn.service.folder import service_folder
from everlearn.service.keys import add_key

NUM_LEARNED = 24
QUOTA = 30
NUM_ACTS = 55


@dataclass(frozen=True)
class Served:
    """A service of a hub, a browser, and keys by name."""

    service: Running
    browser: Browser
    keys: dict[str, str]

    def get(self, path: str, **query: Any) -> Any:
        with self.ask("boss") as boss:
            return self._json(boss.get(path, params=query))

    def ask(self, name: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.keys[name]}"}
        return httpx.Client(base_url=self.service.url, headers=headers, timeout=60)

    @staticmethod
    def _json(answer: httpx.Response) -> Any:
        assert answer.is_success, answer.text
        return answer.json()

    @contextmanager
    def page(self, name: str, **options: Any) -> Iterator[Page]:
        """A page at which the key of this name is signed in."""
        with dashboard_page(self.browser, self.service.url, **options) as page:
            page.goto("/")
            page.get_by_label("Key").fill(self.keys[name])
            page.keyboard.press("Enter")
            page.locator("#sections a").first.wait_for()
            yield page


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("dashboard") / "hub"
    with Hub.open(place, {"run.keep_text": True}) as hub:
        hub.add("acme", max_examples=QUOTA)
        hub.add("globex")
        hub.learn("acme", [Example(**row) for row in demo_rows(NUM_LEARNED)])
    folder = service_folder(place)
    keys = {"boss": add_key(folder, "boss", "admin"), "ops": add_key(folder, "ops", "operate")}
    keys["helpdesk"] = add_key(folder, "helpdesk", "label", tenants=["globex"])
    with running(place) as service, chromium() as browser:
        yield Served(service, browser, keys)


@pytest.fixture
def page(served: Served) -> Iterator[Page]:
    with served.page("boss") as opened:
        yield opened


def row_of(page: Page, name: str) -> Locator:
    return page.locator("tbody tr", has=page.get_by_role("rowheader", name=name, exact=True))


def said(page: Page) -> Locator:
    return page.locator(".notice.good").last


def test_tenants_are_listed_as_the_api_tells_and_one_is_looked_at(page: Page, served: Served) -> None:
    with served.ask("boss") as boss:  # from then on what it predicts by is published
        (row,) = demo_rows(1, start=NUM_LEARNED)
        assert boss.post("/v1/learn", json=row | {"tenant": "acme"}).status_code == 200
    section(page, "tenants", "Tenants")
    told = served.get("/v1/tenants/acme")
    cells = row_of(page, "acme").locator("td")
    expect(cells.nth(0)).to_have_text(f"{NUM_LEARNED + 1}")
    expect(cells.nth(1)).to_have_text(str(told["labels"]))
    expect(cells.nth(2)).to_have_text(f"{told['accuracy']:.1%}")
    expect(cells.nth(3)).to_have_text(f"{round(told['memory_bytes'] / 1_000)} kB")
    expect(cells.nth(4)).to_have_text(str(QUOTA))
    expect(row_of(page, "globex").locator("td").nth(4)).to_have_text("no bound")
    expect(row_of(page, "acme")).to_contain_text("shown now")
    page.get_by_role("button", name="Look at globex").click()
    expect(page.get_by_label("Tenant", exact=True)).to_have_value("globex")
    expect(row_of(page, "globex")).to_contain_text("shown now")
    expect(page.get_by_role("heading", level=1, name="Tenants")).to_be_focused()
    page.get_by_label("Find").fill("ACM")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Find").fill("nobody at all")
    expect(page.get_by_text("No tenant is called so.")).to_be_visible()


def test_a_tenant_is_added_bounded_and_removed_by_keyboard(page: Page, served: Served) -> None:
    section(page, "tenants", "Tenants")
    page.get_by_label("Name", exact=True).focus()
    page.keyboard.type("initech")
    page.keyboard.press("Tab")
    page.keyboard.type("1.5")
    page.keyboard.press("Enter")
    expect(page.locator("form .wrong")).to_contain_text("a whole number from 1")
    expect(page.get_by_label("Most examples", exact=True)).to_be_focused()
    page.keyboard.press("Control+A")
    page.keyboard.type("40")
    page.keyboard.press("Enter")
    expect(said(page)).to_have_text("initech was added.×")
    assert served.get("/v1/tenants/initech")["max_examples"] == 40
    expect(page.get_by_label("Tenant", exact=True).locator("option")).to_have_count(3)

    quota = page.get_by_role("button", name="Quota of initech")
    quota.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    field = dialog.get_by_label("Most examples that it may learn")
    expect(field).to_have_value("40")
    page.keyboard.type("none")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("a whole number from 1")
    assert violations(page) == []
    field.fill("")
    page.keyboard.press("Enter")
    expect(said(page)).to_contain_text("initech may learn any number of examples")
    expect(row_of(page, "initech").locator("td").nth(4)).to_have_text("no bound")
    expect(quota).to_be_focused()
    assert served.get("/v1/tenants/initech")["max_examples"] is None

    remove = page.get_by_role("button", name="Remove initech")
    remove.focus()
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("All that it has learned is deleted with it")
    page.keyboard.type("initec")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Remove it")).to_be_disabled()
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(remove).to_be_focused()
    assert "initech" in served.get("/v1/tenants")["tenants"]
    page.keyboard.press("Enter")
    page.keyboard.type("initech")
    page.keyboard.press("Enter")
    expect(said(page)).to_contain_text("initech was removed")
    expect(row_of(page, "initech")).to_have_count(0)
    assert "initech" not in served.get("/v1/tenants")["tenants"]


def test_a_tenant_that_cannot_be_is_refused_with_a_remedy(page: Page, served: Served) -> None:
    section(page, "tenants", "Tenants")
    name = page.get_by_label("Name", exact=True)
    for given, problem in (("acme", "There is a tenant of this name"), ("../acme", "A setting is wrong")):
        name.fill(given)
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_role("alert").filter(has_text=problem)).to_be_visible()
        expect(name).to_have_value(given)
    assert served.get("/v1/tenants")["tenants"] == ["acme", "globex"]


def test_who_may_not_change_tenants_is_not_offered_it(served: Served) -> None:
    with served.page("helpdesk") as page:
        section(page, "tenants", "Tenants")
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.get_by_role("button", name="Remove")).to_have_count(0)
        expect(page.get_by_role("button", name="Add")).to_have_count(0)
        names = page.locator("#sections a")
        expect(names.filter(has_text="Audit log")).to_have_count(0)
        expect(names.filter(has_text="Files")).to_have_count(1)
        section(page, "audit", "Overview")  # which this key may not see


def test_the_audit_log_tells_who_did_what_by_pages(served: Served) -> None:
    with served.ask("helpdesk") as helpdesk, served.ask("ops") as ops, served.ask("boss") as boss:
        for k in range(NUM_ACTS):
            row = {"id": f"a-{k}", "text": f"audited number {k}", "target": "audited", "tenant": "globex"}
            assert helpdesk.post("/v1/learn", json=row).status_code == 200
        helpdesk.post("/v1/correct", json={"targets": {"a-0": "corrected"}, "tenant": "globex"})
        ops.post("/v1/forget", json={"ids": ["a-1"], "tenant": "globex"})
        ops.post("/v1/rollback", json={"version": None, "tenant": "globex"})
        boss.patch("/v1/tenants/globex", json={"max_examples": 500})
    acts = served.get("/v1/audit", tenant="globex", limit=1_000)["acts"]
    with served.page("ops") as page:
        page.get_by_label("Tenant", exact=True).select_option("globex")
        section(page, "audit", "Audit log")
        rows = page.locator("tbody tr")
        expect(rows).to_have_count(50)
        for k, (who, what) in enumerate(
            (
                ("boss", "Quota: 500 examples"),
                ("ops", "The newest is served again"),
                ("ops", "1 example deleted"),
                ("helpdesk", "1 example corrected"),
                ("helpdesk", "1 example learned"),
            )
        ):
            expect(rows.nth(k).locator(".who")).to_have_text(who)
            expect(rows.nth(k).locator(".why")).to_have_text(what)
        page.get_by_role("link", name="Older").focus()
        page.keyboard.press("Enter")
        expect(rows).to_have_count(len(acts) - 50)
        expect(page.get_by_role("link", name="Older")).to_have_count(0)
        page.get_by_role("link", name="Newest").click()
        expect(rows).to_have_count(50)

        page.get_by_label("Act", exact=True).focus()
        page.keyboard.type("Corrected")
        page.keyboard.press("Tab")
        page.keyboard.type("helpdesk")
        page.keyboard.press("Enter")
        expect(rows).to_have_count(1)
        expect(page.get_by_label("Name of the key")).to_have_value("helpdesk")
        rows.get_by_role("link", name="a-0").click()
        expect(page.get_by_role("heading", name="Example a-0")).to_be_visible()
        section(page, "audit")
        rows.first.get_by_role("link", name="boss").click()
        expect(rows).to_have_count(1)
        page.get_by_label("Name of the key").fill("nobody' OR 1")
        page.get_by_role("button", name="Show", exact=True).click()
        expect(page.get_by_text("There is none such.")).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_no_section_of_a_hub_has_a_barrier(served: Served, scheme: str, width: int) -> None:
    """WCAG 2.2 A and AA, by axe-core; and narrow pages do not scroll sideways."""
    size = {"width": width, "height": 800}
    with served.page("boss", color_scheme=scheme, viewport=size) as page:
        for name in ("tenants", "audit", "files"):
            section(page, name)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            assert violations(page) == [], name


def test_a_hub_without_tenants_gets_its_first_one(tmp_path: Any, served: Served) -> None:
    with Hub.open(tmp_path / "empty"):
        pass
    with running(tmp_path / "empty") as service, dashboard_page(served.browser, service.url) as page:
        page.goto("/")
        expect(page.get_by_text("There is no tenant yet")).to_be_visible()
        page.get_by_label("Name", exact=True).fill("first")
        page.keyboard.press("Enter")
        expect(said(page)).to_contain_text("first was added")
        section(page, "overview", "Overview")
        expect(page.get_by_label("Tenant", exact=True)).to_have_value("first")
        section(page, "tenants", "Tenants")
        page.get_by_role("button", name="Remove first").click()
        page.keyboard.type("first")
        page.keyboard.press("Enter")
        expect(page.get_by_text("There is no tenant yet")).to_be_visible()
        expect(page.locator("#sections a")).to_have_text(["Tenants"])
