"""How many processor threads a command uses where it has no option for that."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from everlearn.errors import RunError, StateError

__all__ = ["use_threads_of"]


def use_threads_of(run: Path) -> None:
    """Use as many threads as a run is set to; whoever opens the run tells what is wrong with it."""
    from everlearn.runtime.folder.run_record import read_record
    from everlearn.runtime.threads import use_threads

    with suppress(RunError, StateError):
        use_threads(read_record(run / "run.json").config["run"]["threads"])
