from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from everlearn.runtime.folder.run_folder import RunFolder


def test_the_demo_shows_what_it_promises(tmp_path: Path, process: Callable[..., Any]) -> None:
    run = tmp_path / "run"
    ended = process("demo", "--out", run)
    assert ended.code == 0, ended.err
    for part in (
        "the product is renamed",
        "Around the renaming",
        "on the same codes: class mean",
        "loyalty_points",
        "unlike anything learned",
    ):
        assert part in ended.out
    assert "the same as of a learner that never saw these messages" in ended.out
    assert str(run / "report.html") in ended.out
    with RunFolder.open_to_read(run) as folder:
        summary = folder.newest_checkpoint().run["summary"]
    assert summary["examples"] >= 1200
    assert summary["classes"] == 30
    assert summary["test_accuracy"] > 0.5
    assert summary["forgotten"] > 5
    assert f"{summary['peak_memory_mb']:,.0f} MB of memory at most" in ended.out
    again = process("demo", "--out", run)
    assert again.code == 5
    assert "exists" in again.err
