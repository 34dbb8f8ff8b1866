"""How many processor threads a command uses where it has no option for that."""

from __future__ import annotations

from pathlib import Path

__all__ = ["use_threads_of"]


def use_threads_of(run: Path) -> None:
    """Use as many threads as a run is set to.

    Raises:
        RunError: Not a run folder.
    """
    from everlearn.runtime.folder.run_record import read_record
    from everlearn.runtime.threads import use_threads

    use_threads(read_record(run / "run.json").config["run"]["threads"])
