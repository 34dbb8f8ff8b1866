"""What commands show while they work: on standard error, and only to a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

if TYPE_CHECKING:
    from everlearn.runtime import listener

__all__ = ["ProgressDisplay"]

_WIDE = 110  # columns from which all figures have room


class ProgressDisplay:
    """A progress bar with rolling accuracy, throughput, classes and memory; a Listener."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None if self._console.width >= _WIDE else 10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None, figures="")

    def stage(self, text: str) -> None:
        """See Listener."""
        self._progress.update(self._task, description=text, completed=0, total=None, figures="")

    def progress(self, progress: listener.Progress) -> None:
        """See Listener."""
        figures = [f"{progress.examples_per_second:,.0f} examples/s"]
        if progress.rolling_accuracy is not None:
            figures.insert(0, f"accuracy {progress.rolling_accuracy:.1%}")
        if progress.rolling_text is not None:
            figures.insert(0, progress.rolling_text)
        if progress.rolling_accuracy is not None and self._console.width >= _WIDE:
            figures += [f"{progress.num_classes} classes", f"{progress.memory_mb:,.0f} MB"]
        self._progress.update(
            self._task, completed=progress.examples, total=progress.total, figures=" · ".join(figures)
        )

    @property
    def is_shown(self) -> bool:
        """Whether there is a terminal to show it on."""
        return self._console.is_terminal

    def stopping(self, text: str = "Stopping after this batch; once more stops at once, unsaved.") -> None:
        """Say that a stop was asked for."""
        self._console.print(text, highlight=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._progress.stop()
