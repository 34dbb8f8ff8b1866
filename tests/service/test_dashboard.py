"""The dashboard in a real browser: what it shows is the API's, and what it does is done."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect
from tests.service.browser import chromium, dashboard_page, section, violations
from tests.service.running import Running, demo_rows, running

from everlearn import Example, Run

HOSTILE = '<img src=x onerror="document.title=1"><script>document.title = 2</script> & "quotes"'
SECTIONS = [
    "overview",
    "try",
    "review",
    "versions",
    "labels",
    "examples",
    "files",
    "events",
    "audit",
]
NUM_LEARNED = 240


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def served(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service of a run that a guard watches: one of its candidates had wrong labels, and was refused."""
    place = tmp_path_factory.mktemp("dashboard") / "support-desk"
    rows = demo_rows(NUM_LEARNED)
    labels = sorted({row["target"] for row in rows})
    guarded = {"guard.enabled": True, "guard.share": 0.15, "guard.every": 60, "guard.confidence": 0.5}
    with Run.open(place, {"run.keep_text": True, **guarded}) as run:
        for start in range(0, NUM_LEARNED, 60):
            taken = rows[start : start + 60]
            if start == 120:
                taken = [
                    row | {"target": labels[(labels.index(row["target"]) + 3) % len(labels)]} for row in taken
                ]
            run.learn(
                Example(
                    id=row["id"], text=row["text"], target=row["target"], fields={"customer": f"c-{k % 7}"}
                )
                for k, row in enumerate(taken)
            )
        run.learn([Example(id="hostile", text=HOSTILE, target="<b>bold</b>")])
        run.save()
    with running(place) as service:
        yield service


@pytest.fixture
def page(browser: Browser, served: Running) -> Iterator[Page]:
    with dashboard_page(browser, served.url) as opened:
        yield opened


def said(page: Page) -> Locator:
    """What the page has just told of something that is done."""
    return page.locator(".notice.good").last


def card(page: Page, title: str) -> Locator:
    return page.get_by_role("region", name=title)


def test_the_overview_tells_what_the_api_does(page: Page, served: Running) -> None:
    section(page, "overview", "Overview")
    stats = served.get("/v1/stats")
    history = served.get("/v1/history", points=200)
    queue = [
        one
        for kind in ("suspicious", "wrong", "unfamiliar")
        for one in served.get("/v1/review", kind=kind, limit=100)["items"]
    ]
    figures = page.locator(".figures")
    expect(figures).to_contain_text(f"{history['points'][-1]['rolling_accuracy']:.1%}")
    expect(figures).to_contain_text(f"{stats['prequential_accuracy']:.1%} of all so far")
    once = figures.locator(".figure", has_text="Accuracy once learning")
    expect(once).to_contain_text(f"{stats['prequential_accuracy_once_learning']:.1%}")
    expect(figures).to_contain_text(f"the {stats['predicted_unlearned']} examples before it knew a label")
    expect(figures).to_contain_text(f"{stats['held']:,}")
    expect(figures).to_contain_text(f"Version {served.get('/v1/versions')['serving']}")
    expect(figures.get_by_role("link", name=str(len(queue)), exact=True)).to_be_visible()
    expect(page.locator("#badge-review")).to_contain_text(str(len(queue)))
    well = card(page, "Is it well?")
    expect(well).to_contain_text("Ready to predict and to learn")
    expect(well).to_contain_text("1 of 1 ready")
    expect(well.locator("dt", has_text="learner")).to_be_visible()
    expect(page.locator("svg path.line").first).to_be_visible()
    suspicious = sum(one["kind"] == "suspicious" for one in queue)
    expect(card(page, "What needs you?")).to_contain_text(f"{suspicious} suspicious")


def test_numbers_lead_to_the_examples_behind_them(page: Page, served: Running) -> None:
    section(page, "overview")
    page.locator(".figures a").first.click()
    expect(page.get_by_role("checkbox", name="Predicted wrong")).to_be_checked()
    wrong = served.get("/v1/examples", wrong=True, limit=50)["items"]
    expect(page.locator(".examples > li")).to_have_count(len(wrong))
    section(page, "labels", "Labels")
    summary = next(one for one in served.get("/v1/labels")["labels"] if one["confused_with"])
    other = summary["confused_with"][0]
    row = page.locator("tr", has=page.get_by_role("link", name=summary["label"], exact=True))
    row.locator(".chips a").first.click()
    expect(page.locator(".examples > li")).to_have_count(other["count"])


def test_a_text_is_tried_explained_and_corrected(page: Page, served: Running) -> None:
    text, label = (
        f"the {secrets.token_hex(3)} gramophone plays backwards",
        f"gramophone-{secrets.token_hex(3)}",
    )
    section(page, "try", "Try a text")
    page.get_by_label("Text", exact=True).fill(text)
    page.keyboard.press("Control+Enter")
    expect(page.locator(".headline")).to_contain_text("%")
    expect(page.locator(".shares li")).to_have_count(5)
    expect(page.locator(".nearest li")).to_have_count(5)
    expect(card(page, "Why").locator(".words li").first).to_be_visible()
    page.get_by_role("combobox", name="The right label").fill(label)
    page.get_by_role("button", name="Learn this label").click()
    expect(said(page)).to_contain_text(f"as {label}")
    found = served.get("/v1/examples", text=text)["items"]
    assert [(one["text"], one["target"]) for one in found] == [(text, label)]


def test_a_prediction_that_is_right_is_learned_as_it_is(page: Page, served: Running) -> None:
    row = demo_rows(1, start=700)[0]
    section(page, f"try?text={row['text'][:40]}")
    before = served.get("/v1/stats")["examples"]
    page.get_by_role("button", name="That is right").click()
    expect(said(page)).to_contain_text("as it was predicted")
    assert served.get("/v1/stats")["examples"] == before + 1


def test_known_labels_are_proposed_and_picked_by_keyboard(page: Page) -> None:
    section(page, "try?text=my new phone does not ring")
    field = page.get_by_role("combobox", name="The right label")
    field.fill("pass")
    options = page.get_by_role("option")
    expect(options.first).to_contain_text("pass")
    assert violations(page) == []
    field.press("ArrowDown")
    chosen = options.first.locator("span").first.inner_text()
    expect(field).to_have_attribute("aria-activedescendant", options.first.get_attribute("id") or "?")
    field.press("Escape")
    expect(options).to_have_count(0)
    field.press("ArrowDown")
    field.press("ArrowDown")
    field.press("Enter")
    expect(said(page)).to_contain_text(f"as {chosen}")


def test_labels_that_come_late_are_proposed_to_what_is_typed_already(page: Page) -> None:
    held: list[Route] = []
    page.route("**/v1/labels*", lambda route: held.append(route))
    section(page, "try?text=my new phone does not ring")
    page.get_by_role("combobox", name="The right label").fill("pass")
    options = page.get_by_role("option")
    expect(options).to_have_count(0)
    assert held
    for one in held:
        one.continue_()
    expect(options.first).to_contain_text("pass")


def test_a_hostile_text_is_shown_as_text(page: Page) -> None:
    section(page, "examples?id=hostile")
    expect(page.locator(".text").first).to_have_text(HOSTILE)
    section(page, "examples?label=<b>bold</b>")
    expect(page.locator(".examples .chip.strong")).to_have_text("<b>bold</b>")
    section(page, "labels")
    expect(page.get_by_role("link", name="<b>bold</b>")).to_be_visible()
    section(page, f"try?text={HOSTILE.replace('&', '%26')}")
    expect(page.locator(".nearest .text").first).to_have_text(HOSTILE)
    assert page.locator("main img, main script, main b").count() == 0
    assert page.title().startswith("Try a text")


def test_the_review_queue_is_decided_by_one_click_each(page: Page, served: Running) -> None:
    def waiting() -> dict[str, str]:
        items = served.get("/v1/review", kind="suspicious", limit=100)["items"]
        return {one["id"]: one["predicted"] for one in items}

    section(page, "review?kind=suspicious", "Review")
    items = page.locator(".item")
    ids = list(waiting())
    assert len(ids) >= 4
    expect(items).to_have_count(len(ids))

    items.first.get_by_role("button", name="Keep").click()
    expect(said(page)).to_contain_text("Kept")
    expect(items).to_have_count(len(ids) - 1)
    expect(items.first).to_be_focused()

    predicted = waiting()[ids[1]]
    items.first.get_by_role("button", name=f"Change to {predicted}").click()
    expect(said(page)).to_contain_text(f"Corrected to {predicted}")
    assert served.get("/v1/blame", id=ids[1])["target"] == predicted

    other = items.first.get_by_role("combobox", name="Another label")
    other.fill("quite_another")
    items.first.get_by_role("button", name="Label", exact=True).click()
    expect(said(page)).to_contain_text("Corrected to quite_another")
    assert served.get("/v1/blame", id=ids[2])["target"] == "quite_another"

    items.first.get_by_role("button", name="Reject").click()
    expect(items).to_have_count(len(ids) - 4)
    assert set(waiting()) == set(ids[4:])


def test_predictions_in_the_queue_are_labelled_and_dismissed(page: Page, served: Running) -> None:
    first, second = (served.predict(f"something unheard of, {secrets.token_hex(4)}") for _ in range(2))
    for one in (first, second):
        served.post("/v1/feedback", id=one["id"], right=False)
    section(page, "review?kind=wrong")
    items = page.locator(".item")
    before = items.count()
    assert before >= 2
    items.first.get_by_role("button", name="Dismiss").click()
    expect(said(page)).to_contain_text("Dismissed")
    items.first.get_by_role("combobox", name="Another label").fill("unheard_of")
    items.first.get_by_role("button", name="Label", exact=True).click()
    expect(said(page)).to_contain_text("as unheard_of")
    expect(items).to_have_count(before - 2)
    assert len(served.get("/v1/examples", text="unheard of", label="unheard_of")["items"]) == 1


def test_versions_say_why_one_was_refused_and_go_back(page: Page, served: Running) -> None:
    told = served.get("/v1/versions")
    refused = next(one for one in told["decisions"] if one["verdict"] == "rejected")
    section(page, "versions", "Versions")
    refusal = page.locator(".card.warning")
    expect(refusal).to_contain_text(refused["reason"])
    exam = refused["numbers"]["recent"]
    expect(refusal).to_contain_text(f"{exam['live_accuracy']:.1%}")
    expect(refusal).to_contain_text(f"{exam['candidate_accuracy']:.1%}")
    first, newest = told["versions"][0]["version"], told["versions"][-1]["version"]
    between = card(page, "What lies between two")
    between.get_by_label("From").select_option(str(first))
    between.get_by_label("To").select_option(str(newest))
    learned = served.get("/v1/diff", first=first, second=newest)["learned"]
    expect(between).to_contain_text(f"Only version {newest} has learned: {sum(learned.values())} examples")

    back = page.get_by_role("button", name=f"Roll back to version {first}")
    back.click()
    dialog = page.get_by_role("dialog")
    after = served.get("/v1/rollback", version=first)["examples_set_aside"]
    assert after >= sum(learned.values()) > 0  # what has come since the newest version, too
    expect(dialog).to_contain_text(f"What was learned after it is set aside: {after} examples.")
    expect(dialog).to_contain_text("This cannot be undone")
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(back).to_be_focused()
    assert served.get("/v1/versions")["serving"] == told["serving"]

    back.click()
    dialog.get_by_role("checkbox").check()
    dialog.get_by_role("button", name="Roll back").click()
    expect(said(page)).to_contain_text(f"Version {first} is served")
    assert served.get("/v1/versions")["serving"] == first
    page.get_by_role("button", name="Serve the newest again").click()
    dialog.get_by_role("button", name="Serve the newest").click()
    expect(said(page)).to_contain_text("The newest is served again")
    assert served.get("/v1/versions")["serving"] == newest


def test_what_was_set_aside_is_learned_after_all(page: Page, served: Running) -> None:
    section(page, "versions")
    page.get_by_role("button", name="Learn after all").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Learn it").click()
    expect(said(page)).to_contain_text("learned after all")
    assert any(one["verdict"] == "readmitted" for one in served.get("/v1/versions")["decisions"])


def test_a_label_is_renamed_and_two_become_one_only_when_confirmed(page: Page, served: Running) -> None:
    old, new = f"old-{secrets.token_hex(3)}", f"new-{secrets.token_hex(3)}"
    ids = [f"t-{secrets.token_hex(4)}" for _ in range(2)]
    for id_, label in zip(ids, (old, new), strict=True):
        served.post("/v1/learn", id=id_, text=f"a label to rename, {id_}", target=label)
    section(page, "labels", "Labels")
    page.get_by_label("Find").fill(old)
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("button", name=f"Rename {old}").click()
    dialog = page.get_by_role("dialog")
    assert violations(page) == []
    dialog.get_by_label("New name").fill(new)
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("Afterwards nothing tells")
    dialog.get_by_role("button", name="Make them one").click()
    expect(said(page)).to_contain_text(f"1 example renamed to {new}")
    assert {one["id"] for one in served.get("/v1/examples", label=new)["items"]} == set(ids)


def test_an_example_is_looked_at_and_corrected(page: Page, served: Running) -> None:
    id_ = f"t-{secrets.token_hex(4)}"
    served.post("/v1/learn", id=id_, text=f"lampshade {id_}", target="furniture", fields={"customer": "c-77"})
    section(page, "examples")
    page.get_by_label("Text holds").fill(f"LAMPSHADE {id_}")
    page.get_by_role("button", name="Show", exact=True).click()
    item = page.locator(".examples > li")
    expect(item).to_have_count(1)
    item.locator("summary").click()
    expect(item).to_contain_text("Held by")
    expect(item.get_by_role("link", name="c-77")).to_have_attribute("href", "#examples?field=customer%3Ac-77")
    item.get_by_role("combobox").fill("lighting")
    item.get_by_role("button", name="Correct").click()
    expect(said(page)).to_contain_text(f"{id_} is lighting now")
    assert served.get("/v1/blame", id=id_)["target"] == "lighting"


def test_examples_are_deleted_with_a_certificate(page: Page, served: Running, tmp_path: Path) -> None:
    chosen, *by_field = (f"t-{secrets.token_hex(4)}" for _ in range(3))
    customer = f"c-{secrets.token_hex(3)}"
    served.post("/v1/learn", id=chosen, text=f"to be deleted {chosen}", target="deleted")
    for id_ in by_field:
        served.post(
            "/v1/learn", id=id_, text=f"of {customer} {id_}", target="kept", fields={"customer": customer}
        )

    section(page, "examples?label=deleted")
    page.get_by_role("checkbox", name=f"Choose {chosen}").check()
    page.get_by_role("button", name="Delete 1 example").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("This cannot be undone")
    dialog.get_by_role("button", name="Cancel").click()
    assert served.get("/v1/blame", id=chosen)["target"] == "deleted"
    page.get_by_role("button", name="Delete 1 example").click()
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(said(page)).to_contain_text("1 example deleted")
    assert served.client.get("/v1/blame", params={"id": chosen}).status_code == 404
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download").click()
    downloading.value.save_as(tmp_path / "certificate.json")
    certificate = json.loads((tmp_path / "certificate.json").read_text(encoding="utf-8"))
    expect(page.locator(".proof code").last).to_have_text(certificate["fingerprint_after"])

    page.get_by_label("Or all with the field").fill("customer")
    page.get_by_label("of the value").fill(customer)
    page.get_by_role("button", name="Delete …", exact=True).click()
    expect(dialog).to_contain_text(f"all examples with customer = {customer}")
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(said(page)).to_contain_text("2 examples deleted")
    assert violations(page) == []


def test_events_come_as_they_happen(page: Page, served: Running) -> None:
    section(page, "events", "Events")
    expect(page.locator(".live")).to_have_text("Live")
    before = page.locator(".event").count()
    served.post("/v1/learn", id=f"t-{secrets.token_hex(4)}", text="an event for the page", target="event")
    newest = page.locator(".event-learned").first
    expect(newest).to_contain_text("1 example learned, 0 predicted right")
    assert page.locator(".event").count() > before


def test_a_problem_is_told_with_its_remedy(page: Page) -> None:
    section(page, "examples?id=nobody-knows")
    problem = page.locator(".notice.bad")
    expect(problem).to_contain_text("There is no such example")
    expect(problem).to_contain_text("nobody-knows")
    expect(problem).to_contain_text("It may have been deleted")


def test_a_problem_goes_by_itself_or_with_its_view(page: Page) -> None:
    page.clock.install()
    section(page, "try", "Try a text")
    page.route("**/v1/predict", lambda route: route.abort())
    problem = page.get_by_role("alert").and_(page.locator(".notice"))
    page.get_by_label("Text", exact=True).fill("nobody answers")
    page.keyboard.press("Control+Enter")
    expect(problem).to_be_visible()
    page.clock.fast_forward(9_000)
    expect(problem).to_be_visible()
    problem.get_by_role("button", name="Close").focus()
    page.clock.fast_forward(30_000)
    expect(problem).to_be_visible()
    page.get_by_label("Text", exact=True).focus()
    page.clock.fast_forward(11_000)
    expect(problem).to_have_count(0)
    page.keyboard.press("Control+Enter")
    expect(problem).to_be_visible()
    section(page, "review", "Review")
    expect(problem).to_have_count(0)


def test_a_long_text_is_cut_until_all_of_it_is_asked_for(page: Page, served: Running) -> None:
    text = f"{secrets.token_hex(4)} " + "a long story " * 7_000
    told = served.post("/v1/predict", text=text)
    id_ = told["predictions"][0]["id"]
    served.post("/v1/feedback", id=id_, right=False)
    section(page, "review?kind=wrong", "Review")
    item = page.locator(".item", has_text=text[:9])
    assert len(item.locator(".text").inner_text()) < 2_100
    item.get_by_role("button", name="Show all").click()
    expect(item.locator(".text")).to_be_focused()
    assert item.locator(".text").text_content() == text
    expect(item.get_by_role("button", name="Show all")).to_have_count(0)
    served.post("/v1/review", dismiss=[id_])


def test_that_texts_are_not_kept_is_told_once(browser: Browser, tmp_path: Path) -> None:
    place = tmp_path / "desk"
    with Run.open(place) as run:
        run.learn(Example(**row) for row in demo_rows(60))
        run.save()
    with running(place) as service, dashboard_page(browser, service.url) as opened:
        section(opened, "try?text=my card is lost", "Try a text")
        why = card(opened, "Why")
        expect(why.locator(".nearest li")).to_have_count(5)
        expect(why.get_by_text("not kept")).to_have_count(1)
        expect(why.locator(".note")).to_contain_text("everlearn learn --keep-text")


def test_everything_is_reached_by_keyboard(page: Page) -> None:
    section(page, "overview")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Overview")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Try a text")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Text", exact=True)).to_be_focused()
    page.keyboard.type("I cannot find the invoice of May")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".headline")).to_contain_text("%")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="That is right")).to_be_focused()
    page.keyboard.press("Enter")
    expect(said(page)).to_contain_text("as it was predicted")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_no_section_has_a_barrier(browser: Browser, served: Running, scheme: str, width: int) -> None:
    """WCAG 2.2 A and AA, by axe-core; and narrow pages do not scroll sideways."""
    size = {"width": width, "height": 800}
    with dashboard_page(browser, served.url, color_scheme=scheme, viewport=size) as page:
        for name in SECTIONS:
            section(page, "try?text=where is my invoice" if name == "try" else name)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            assert violations(page) == [], name
