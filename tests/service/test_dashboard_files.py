"""Files on the dashboard: uploaded, learned with a progress bar, refused line by line, stopped."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.service.browser import chromium, dashboard_page, section, violations
from tests.service.running import Running, demo_rows


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, service: Running) -> Iterator[Page]:
    with dashboard_page(browser, service.url) as opened:
        yield opened


def said(page: Page) -> Locator:
    return page.locator(".notice.good")


def file_of(path: Path, rows: Sequence[Mapping[str, Any] | bytes]) -> Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def upload(page: Page, path: Path) -> Locator:
    """Upload a file; returns what the list has of it."""
    section(page, "files", "Files")
    page.get_by_label("File", exact=True).set_input_files(path)
    page.get_by_role("button", name="Upload and learn").click()
    expect(said(page).first).to_contain_text(f"{path.name} was uploaded")
    return page.locator(".job", has=page.get_by_role("heading", name=path.name, exact=True))


def test_a_file_is_uploaded_and_leads_to_its_examples(page: Page, service: Running, tmp_path: Path) -> None:
    tag = secrets.token_hex(4)
    rows = [{"text": f"the zither of {tag}, {k}", "label": f"zither-{tag}"} for k in range(3)]
    job = upload(page, file_of(tmp_path / "zithers.jsonl", rows))
    expect(job.locator(".chip")).to_have_text("Done")
    expect(job.get_by_role("progressbar")).to_have_count(0)
    expect(said(page).last).to_contain_text("3 examples learned")
    (told,) = [one for one in service.get("/v1/jobs")["jobs"] if one["lines"] == 3]
    assert told["learned"] == 3
    assert violations(page) == []
    job.get_by_role("link", name="3 learned").click()
    items = page.locator(".examples > li")
    expect(items).to_have_count(3)
    expect(items.first).to_contain_text(f"the zither of {tag}, 0")
    expect(page.locator(".span")).to_contain_text("what came with a file")
    section(page, "files")
    expect(page.locator(".job").first).to_contain_text("3 learned")  # those that are there are listed


def test_lines_that_are_refused_say_why_and_lead_to_what_is_known(
    page: Page, service: Running, tmp_path: Path
) -> None:
    id_ = f"t-{secrets.token_hex(4)}"
    service.post("/v1/learn", id=id_, text=f"known already, {id_}", target="known")
    rows: list[Mapping[str, Any] | bytes] = [
        {"text": f"a good one, {id_}", "label": "good"},
        b"not JSON <img src=x onerror=alert(1)>",
        {"id": id_, "text": "quite another text", "target": "other"},
        b'{"text": "caf\xe9"}',
    ]
    job = upload(page, file_of(tmp_path / "mixed.jsonl", rows))
    expect(job.locator("summary")).to_have_text("3 lines refused")
    told = service.get("/v1/jobs")["jobs"][0]
    lines = job.locator("tbody tr")
    expect(lines).to_have_count(3)
    for k, one in enumerate(told["rejected"]):
        expect(lines.nth(k).locator("th")).to_have_text(str(one["line"]))
        expect(lines.nth(k).locator(".why")).to_have_text(one["reason"])
    assert violations(page) == []
    lines.nth(1).get_by_role("link", name=id_).click()
    expect(page.get_by_role("heading", name=f"Example {id_}")).to_be_visible()


def test_what_is_no_such_file_is_refused(page: Page, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(128, 256)) * 20)
    section(page, "files", "Files")
    page.get_by_label("File", exact=True).set_input_files(tmp_path / "picture.png")
    page.get_by_role("button", name="Upload and learn").click()
    expect(page.get_by_role("alert").filter(has_text="this looks like a PNG image")).to_be_visible()

    nothing = file_of(tmp_path / "nothing.jsonl", [{"title": "no text here"}])
    job = upload(page, nothing)
    expect(job.locator(".result .callout")).to_have_text("Nothing was learned: every line was refused.")
    expect(job.locator("tbody tr").first).to_contain_text("a line needs the field text")

    (tmp_path / "empty.jsonl").touch()
    page.get_by_label("File", exact=True).set_input_files(tmp_path / "empty.jsonl")
    page.get_by_role("button", name="Upload and learn").click()
    alert = page.get_by_role("alert").filter(has_text="there is nothing in the file")
    expect(alert).to_be_visible()

    gone = file_of(tmp_path / "gone.jsonl", [{"text": "soon gone", "label": "gone"}])
    page.get_by_label("File", exact=True).set_input_files(gone)
    gone.unlink()
    page.get_by_role("button", name="Upload and learn").click()
    expect(page.get_by_role("alert").filter(has_text="The file cannot be read")).to_be_visible()
    expect(page.locator(".sending progress")).to_have_count(0)


def test_a_job_shows_how_far_it_is_and_is_stopped_by_keyboard(
    page: Page, service: Running, tmp_path: Path
) -> None:
    rows = [
        {"text": f"{row['text']} ({k})", "label": row["target"]} for k in range(6) for row in demo_rows(500)
    ]
    section(page, "files", "Files")
    field = page.get_by_label("File", exact=True)
    field.set_input_files(file_of(tmp_path / "many.jsonl", rows))
    field.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    job = page.locator(".job", has=page.get_by_role("heading", name="many.jsonl", exact=True))
    bar = job.get_by_role("progressbar", name="many.jsonl")
    expect(bar).to_be_visible()
    expect(bar).not_to_have_js_property("value", 0)
    expect(job).to_contain_text("of 3,000 lines")
    assert violations(page) == []
    stop = job.get_by_role("button", name="Stop many.jsonl")
    stop.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(stop).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("What was learned of it stays")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(job.locator(".chip")).to_have_text("Stopped")
    expect(job.get_by_role("heading", name="many.jsonl")).to_be_focused()
    told = service.get("/v1/jobs")["jobs"][0]
    assert (told["state"], told["lines"]) == ("stopped", 3_000)
    assert 0 < told["taken"] < 3_000
    expect(job).to_contain_text(f"{told['learned']:,} learned")
