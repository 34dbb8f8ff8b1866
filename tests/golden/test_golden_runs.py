"""Runs that an earlier version wrote are opened, verified, continued, reported and forgotten from."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.golden.runs import KINDS, PLACE, command, numerics, observed, unpack

from everlearn.runtime.history.verify import verify_run

FORGOTTEN = {
    "closed-form": ("message-200", "message-310", "message-20"),
    "gradient": ("message-60", "message-9"),
    "language": ("doc-20", "late-1"),
    "translation": ("pair-40", "pair-7"),
}
IN_STREAM = {"closed-form": 900, "gradient": 160, "translation": 100}


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


def check_verified(run: Path, kind: str, made_on: str, certificate: Path | None = None) -> None:
    """``verify`` holds. Sums of floats come out to the bit on such a machine as made them: on others the
    fingerprint of what was folded there, and nothing else, may differ.
    """
    outcome = verify_run(run, certificate=certificate)
    assert outcome.passed
    if kind == "closed-form" or made_on == numerics():
        assert outcome.is_valid, outcome.failed
    else:
        assert len(outcome.failed) <= 1
        assert all("fold" in one and "fingerprint" in one for one in outcome.failed), outcome.failed


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_before_shows_what_it_showed(tmp_path: Path, kind: str) -> None:
    run, expected = unpack(kind, tmp_path)
    same(observed(run, kind, expected["ids"]), expected["observed"])
    check_verified(run, kind, expected["numerics"])
    (certificate,) = (run / "certificates").glob("*.json")
    check_verified(run, kind, expected["numerics"], certificate)
    command("report", run)
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "stream" in report
    for decision in expected["observed"]["versions"]["decisions"]:
        assert html.escape(decision["reason"], quote=False) in report


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_before_goes_on_and_forgets(tmp_path: Path, kind: str) -> None:
    run, expected = unpack(kind, tmp_path)
    suffix = "codes.parquet" if kind == "closed-form" else "jsonl"
    (ended,) = command("learn", PLACE / kind / f"stream.{suffix}", "--out", run, "--json")
    (more,) = command("learn", PLACE / kind / f"more.{suffix}", "--out", run, "--json")
    assert more["learned"] > ended["learned"]
    if kind in IN_STREAM:  # whole: it was read on from where the run stopped, and nothing of it twice
        assert ended["examples"] == IN_STREAM[kind]
    versions = command("versions", run, "--json")[0]["versions"]
    assert len(versions) > len(expected["observed"]["versions"]["versions"])
    for id_, known in expected["observed"]["blame"].items():
        (now,) = command("blame", run, "--id", id_, "--json")
        assert now["offset"] == known["offset"]
        assert now["predicted"] == known["predicted"]
    check_verified(run, kind, expected["numerics"])

    words = [word for one in FORGOTTEN[kind] for word in ("--id", one)]
    (forgotten,) = command("forget", run, *words, "--json")
    assert forgotten["forgotten"] >= len(FORGOTTEN[kind])
    assert forgotten["exact"]
    check_verified(run, kind, expected["numerics"], Path(forgotten["certificate"]))
    for id_ in FORGOTTEN[kind]:
        command("blame", run, "--id", id_, code=5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_before_goes_back(tmp_path: Path, kind: str) -> None:
    run, expected = unpack(kind, tmp_path)
    (history,) = command("versions", run, "--json")
    first = next(one for one in history["versions"] if one["status"] == "kept")
    (back,) = command("rollback", run, str(first["version"]), "--json")
    assert back["fingerprint"] == first["fingerprint"]
    check_verified(run, kind, expected["numerics"])
