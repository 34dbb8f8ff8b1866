"""Runs that earlier code wrote are opened, verified, continued, reported, forgotten from, and made anew."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.golden.recipes import RECIPES
from tests.golden.runs import (
    FORGOTTEN,
    command,
    fingerprints_of_going_on,
    forget,
    go_on,
    numerics,
    observed,
)
from tests.golden.sets import ARCHIVES, KINDS, NEWEST, Archive

from everlearn.runtime.history.verify import verify_run

IN_STREAM = {
    "1-closed-form": 900,
    "1-gradient": 160,
    "1-translation": 100,
    "2-closed-form": 700,
    "2-gradient": 160,
    "2-translation": 99,
    "3-closed-form": 700,
    "3-gradient": 160,
    "3-translation": 99,
    "4-closed-form": 700,
    "4-gradient": 160,
    "4-translation": 99,
    "5-closed-form": 700,
    "5-gradient": 160,
    "5-translation": 99,
    "6-closed-form": 700,
    "6-gradient": 160,
    "6-translation": 99,
}

of_every_archive = pytest.mark.parametrize("archive", ARCHIVES, ids=str)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def same(found: Any, expected: Any, place: str = "") -> None:
    """Everything that was shown is shown again; more may be. Floats are compared up to rounding."""
    if isinstance(expected, dict):
        for name, value in expected.items():
            assert name in found, f"{place}.{name} is missing"
            same(found[name], value, f"{place}.{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for k, (one, other) in enumerate(zip(found, expected, strict=True)):
            same(one, other, f"{place}[{k}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6), place
    else:
        assert found == expected, place


def rounds_alike(archive: Archive, made_on: str) -> bool:
    """Whether sums of floats come out to the bit as where something was made; sums of integers always do."""
    return archive.kind == "closed-form" or made_on == numerics()


def check_verified(run: Path, archive: Archive, made_on: str, certificate: Path | None = None) -> None:
    """``verify`` holds. Where sums of floats come out otherwise, the fingerprint of what was folded there,
    and nothing else, may differ.
    """
    outcome = verify_run(run, certificate=certificate)
    assert outcome.passed
    if rounds_alike(archive, made_on):
        assert outcome.is_valid, outcome.failed
    else:
        assert len(outcome.failed) <= 1
        what = "fingerprint" if certificate is None else "the certificate says"
        assert all("fold" in one and what in one for one in outcome.failed), outcome.failed


def without(names: set[str], value: Any) -> Any:
    """JSON without the fields of these names, at whatever depth."""
    if isinstance(value, dict):
        return {name: without(names, inner) for name, inner in value.items() if name not in names}
    return [without(names, inner) for inner in value] if isinstance(value, list) else value


@of_every_archive
def test_a_run_of_before_shows_what_it_showed(tmp_path: Path, archive: Archive) -> None:
    run, expected = archive.unpack(tmp_path)
    same(observed(run, archive, expected["ids"]), expected["observed"])
    check_verified(run, archive, expected["numerics"])
    (certificate,) = (run / "certificates").glob("*.json")
    check_verified(run, archive, expected["numerics"], certificate)
    command("report", run)
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "stream" in report
    for decision in expected["observed"]["versions"]["decisions"]:
        assert html.escape(decision["reason"], quote=False) in report


@of_every_archive
def test_a_run_of_before_goes_on_and_forgets(tmp_path: Path, archive: Archive) -> None:
    run, expected = archive.unpack(tmp_path)
    ended, more = go_on(run, archive)
    assert more["learned"] > ended["learned"]
    if archive.kind != "language":  # whole: it was read on from where the run stopped, and nothing twice
        assert ended["examples"] == IN_STREAM[str(archive)]
    versions = command("versions", run, "--json")[0]["versions"]
    assert len(versions) > len(expected["observed"]["versions"]["versions"])
    for id_, known in expected["observed"]["blame"].items():
        (now,) = command("blame", run, "--id", id_, "--json")
        assert now["offset"] == known["offset"]
        assert now["predicted"] == known["predicted"]
    check_verified(run, archive, expected["numerics"])

    gone = FORGOTTEN[archive.kind]
    forgotten = forget(run, gone)
    assert forgotten["forgotten"] >= len(gone)
    assert forgotten["exact"]
    check_verified(run, archive, expected["numerics"], Path(forgotten["certificate"]))
    for id_ in gone:
        command("blame", run, "--id", id_, code=5)

    continued = json.loads(archive.set.continued.read_text(encoding="utf-8"))
    if rounds_alike(archive, continued["numerics"]):
        assert fingerprints_of_going_on(ended, more, forgotten) == continued[archive.kind]


@of_every_archive
def test_a_run_of_before_goes_back(tmp_path: Path, archive: Archive) -> None:
    run, expected = archive.unpack(tmp_path)
    (history,) = command("versions", run, "--json")
    first = next(one for one in history["versions"] if one["status"] == "kept")
    (back,) = command("rollback", run, str(first["version"]), "--json")
    assert back["fingerprint"] == first["fingerprint"]
    check_verified(run, archive, expected["numerics"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_made_anew_learns_the_same(tmp_path: Path, kind: str) -> None:
    archive = Archive(NEWEST, kind)
    _, expected = archive.unpack(tmp_path)
    assert RECIPES[kind](archive.place, tmp_path / "anew") == expected["ids"]
    (history,) = command("versions", tmp_path / "anew", "--decisions", "--json")
    differing = {"time"} if rounds_alike(archive, expected["numerics"]) else {"time", "fingerprint", "scores"}
    same(history, without(differing, expected["observed"]["versions"]))
