"""The examples with which a command's help ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["example_text", "examples"]


def examples(*lines: str, note: str = "") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command's help end with examples.

    Args:
        *lines: What is typed and, two spaces behind it, what that does.
        note: What else there is to say.
    """

    def give(command: Callable[..., None]) -> Callable[..., None]:
        heading = "Examples" if len(lines) > 1 else "Example"
        told = "\n\n".join(filter(None, [example_text(lines, heading), note]))
        command.epilog = f"\n{told}\n"  # type: ignore[attr-defined]
        return command

    return give


def example_text(lines: Iterable[str], heading: str = "Examples") -> str:
    """Examples below their heading, marked up for a help."""
    parts = (line.partition("  ") for line in lines)
    told = (f"  [cyan]{typed}[/]{gap}{comment}" for typed, gap, comment in parts)
    return "\n\n".join([f"[bold]{heading}[/bold]", *told])
