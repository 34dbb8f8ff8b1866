import json
import re
from collections import Counter
from datetime import datetime
from importlib.resources import files
from pathlib import Path

import pytest

import everlearn.demo_data
from everlearn.demo_data import support_desk_stream, support_desk_test
from everlearn.errors import InputError

FIRST_MONDAY = datetime(2026, 1, 5)
RENAME = datetime(2026, 2, 16)
ALWAYS = {"id", "time", "customer", "text", "label"}
FIRST_WEEK = {
    "payout_delay": 3,
    "gift_vouchers": 4,
    "waitlist": 5,
    "privacy_request": 6,
    "new_name_confusion": 7,
    "old_links_broken": 7,
    "app_store_update": 7,
    "phone_assistant": 8,
    "e_invoicing": 9,
    "loyalty_points": 10,
}

Row = dict[str, str | bool]


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_bytes().decode("utf-8").splitlines()]


def time_of(row: Row) -> datetime:
    return datetime.strptime(str(row["time"]), "%Y-%m-%dT%H:%M")


@pytest.fixture(scope="module")
def stream() -> list[Row]:
    return read(support_desk_stream())


@pytest.fixture(scope="module")
def test() -> list[Row]:
    return read(support_desk_test())


@pytest.fixture(scope="module")
def both(stream: list[Row], test: list[Row]) -> list[Row]:
    return stream + test


def true_label(row: Row) -> str:
    return str(row.get("correct_label", row["label"]))


def test_counts(stream: list[Row], test: list[Row]) -> None:
    assert len(stream) + len(test) == 1620
    assert len(stream) >= 1200
    assert 0.14 <= len(test) / 1620 <= 0.20


def test_thirty_labels_each_with_54_messages(both: list[Row], test: list[Row]) -> None:
    assert set(Counter(map(true_label, both)).values()) == {54}
    assert len({row["label"] for row in both}) == 30
    in_test = Counter(row["label"] for row in test)
    assert len(in_test) == 30
    assert min(in_test.values()) >= 6


def test_ten_labels_first_appear_later(stream: list[Row], both: list[Row]) -> None:
    for rows in (stream, both):
        first: dict[str, int] = {}
        for row in sorted(rows, key=time_of):
            first.setdefault(str(row["label"]), (time_of(row) - FIRST_MONDAY).days // 7 + 1)
        assert {label: week for label, week in first.items() if week > 1} == FIRST_WEEK


def test_times_are_sorted_and_within_twelve_weeks(stream: list[Row], test: list[Row]) -> None:
    for rows in (stream, test):
        times = [time_of(row) for row in rows]
        assert times == sorted(times)
        assert all(0 <= (time - FIRST_MONDAY).days < 84 for time in times)


def test_ids_count_up_in_order_of_time_over_both_files(both: list[Row]) -> None:
    by_id = sorted(both, key=lambda row: str(row["id"]))
    assert [row["id"] for row in by_id] == [f"m{number:04d}" for number in range(1, 1621)]
    assert [time_of(row) for row in by_id] == sorted(time_of(row) for row in both)


def test_wrong_labels_are_marked_and_only_in_the_stream(stream: list[Row], test: list[Row]) -> None:
    labels = {row["label"] for row in stream}
    wrong = [row for row in stream if "label_is_wrong" in row]
    assert 0.03 <= len(wrong) / len(stream) <= 0.08
    for row in wrong:
        assert row["label_is_wrong"] is True
        assert row["correct_label"] in labels
        assert row["correct_label"] != row["label"]
    assert not any("label_is_wrong" in row for row in test)


def test_every_line_has_only_the_allowed_keys(stream: list[Row], test: list[Row]) -> None:
    for row in stream:
        assert set(row) in (ALWAYS, ALWAYS | {"label_is_wrong", "correct_label"})
    assert all(set(row) == ALWAYS for row in test)


def test_the_new_name_replaces_the_old_one(both: list[Row]) -> None:
    before = [str(row["text"]).lower() for row in both if time_of(row) < RENAME]
    after = [str(row["text"]).lower() for row in both if time_of(row) >= RENAME]
    assert not any("almanara" in text for text in before)
    assert sum("bookfinch" in text for text in before) / len(before) > 0.25
    assert sum("almanara" in text for text in after) / len(after) > 0.25
    assert sum("bookfinch" in text for text in after) / len(after) < 0.08


def test_customers_are_many_and_uneven(both: list[Row]) -> None:
    messages = Counter(str(row["customer"]) for row in both)
    assert len(messages) >= 40
    assert all(re.fullmatch(r"c\d\d", customer) for customer in messages)
    assert max(messages.values()) > 5 * min(messages.values())


def test_no_text_twice_and_none_nearly(both: list[Row]) -> None:
    texts = [str(row["text"]) for row in both]
    assert all(text == text.strip() and len(text.split()) >= 2 for text in texts)
    words = [frozenset(re.findall(r"[\w']+", text.lower())) for text in texts]
    assert len(set(words)) == len(texts)
    # Two sets that overlap by more than 60 % share one of their rarest words, so not every pair is compared.
    frequency = Counter(word for bag in words for word in bag)
    holders: dict[str, list[int]] = {}
    for number, bag in enumerate(words):
        rare_first = sorted(bag, key=lambda word: (frequency[word], word))
        for word in rare_first[: len(bag) - int(0.6 * len(bag)) + 1]:
            for other in holders.setdefault(word, []):
                assert len(bag & words[other]) <= 0.6 * len(bag | words[other]), (texts[other], texts[number])
            holders[word].append(number)


def test_no_contact_details(both: list[Row]) -> None:
    for row in both:
        assert not re.search(r"\w@\w|https?://|www\.|(\d[\s./-]?){9,}", str(row["text"])), row


def test_a_missing_file_is_reported_with_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(everlearn.demo_data, "files", lambda package: tmp_path)
    with pytest.raises(InputError, match=r"stream\.jsonl.*Reinstall"):
        support_desk_stream()


def test_the_readme_states_the_counts(stream: list[Row], test: list[Row]) -> None:
    readme = files("everlearn.demo_data").joinpath("support_desk", "README.md").read_text(encoding="utf-8")
    wrong = sum("label_is_wrong" in row for row in stream)
    assert f"| `stream.jsonl` | {len(stream):,} |" in readme
    assert f"; {wrong} labels are wrong and marked |" in readme
    assert f"| `test.jsonl` | {len(test)} |" in readme
    assert all(f"`{label}`" in readme for label in {row["label"] for row in stream})
