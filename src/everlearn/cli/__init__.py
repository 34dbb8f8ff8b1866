"""The command line. Commands parse and print; everything they do is in the runtime."""

from __future__ import annotations

__all__ = ["main"]

_STOPPED = 130  # as a shell says of a program that Ctrl-C ended


def main() -> None:
    """Run the command that the arguments name."""
    try:
        from everlearn.process_memory import collect_seldom

        collect_seldom()
        from everlearn.cli.app import main as run

        run()
    except KeyboardInterrupt:
        # While the program loads there is nothing to stop yet, and a traceback tells nobody anything.
        raise SystemExit(_STOPPED) from None
