"""``everlearn keys``: a key is shown once, listed without itself, and removed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.cli.conftest import Run

from everlearn.service.folder import service_folder
from everlearn.service.keys import KEYS_FILE, Keys, add_key


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Enough of a hub for keys: its mark."""
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "hub.json").write_text('{"format": 1, "settings": {}}\n')
    return tmp_path / "hub"


def test_a_key_is_shown_once(inside: Run, place: Path) -> None:
    ended = inside("keys", "add", place, "acme", "--role", "label", "--tenant", "a", "--tenant", "b")
    assert ended.code == 0
    given = next(word for word in ended.out.split() if word.startswith("el_"))
    key = Keys(service_folder(place)).find(given)
    assert key is not None
    assert (key.name, key.role, key.tenants, key.expires) == ("acme", "label", ("a", "b"), None)
    listed = inside("keys", "list", place)
    assert listed.code == 0
    assert "acme" in listed.out
    assert "a, b" in listed.out
    assert given not in listed.out
    assert key.sha256 not in listed.out


def test_keys_as_json(inside: Run, place: Path) -> None:
    ended = inside("keys", "add", place, "ops", "--role", "admin", "--days", "30", "--json")
    told = ended.result
    assert set(told) == {"name", "role", "key"}
    assert told["key"].startswith("el_")
    (listed,) = inside("keys", "list", place, "--json").result["keys"]
    assert (listed["name"], listed["role"], listed["tenants"]) == ("ops", "admin", None)
    assert listed["expires"] > listed["made"]
    assert "sha256" not in listed


def test_a_key_is_removed(inside: Run, place: Path) -> None:
    given = inside("keys", "add", place, "gone", "--json").result["key"]
    assert inside("keys", "remove", place, "gone").code == 0
    assert Keys(service_folder(place)).find(given) is None
    again = inside("keys", "remove", place, "gone")
    assert again.code == 2
    assert "there is no key named 'gone'; there are: none" in again.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("add", "acme", "--role", "king"), 2, "role must be one of predict, label, operate, admin"),
        (("add", " "), 2, "no name for a key"),
    ],
)
def test_what_is_wrong_is_told(
    inside: Run, place: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    command, *rest = arguments
    ended = inside("keys", command, place, *rest)
    assert ended.code == code
    assert said in ended.err
    assert not (service_folder(place) / KEYS_FILE).exists()


def test_keys_that_are_made_at_once_are_all_there(place: Path) -> None:
    names = [f"key {k}" for k in range(20)]
    with ThreadPoolExecutor(8) as threads:
        given = list(threads.map(lambda name: add_key(service_folder(place), name, "predict"), names))
    keys = Keys(service_folder(place))
    assert [found.name for one in given if (found := keys.find(one)) is not None] == names


def test_a_place_that_is_none_is_told(inside: Run, tmp_path: Path) -> None:
    ended = inside("keys", "add", tmp_path, "acme")
    assert ended.code == 5
    assert "neither a run nor a hub" in ended.err


def test_a_damaged_file_is_told_and_left(inside: Run, place: Path) -> None:
    inside("keys", "add", place, "acme")
    path = service_folder(place) / KEYS_FILE
    path.write_text("{")
    for arguments in (("list", place), ("add", place, "other"), ("remove", place, "acme")):
        ended = inside("keys", *arguments)
        assert ended.code == 6
        assert "restore it, or delete it and make new keys" in ended.err
    assert path.read_text() == "{"
