"""The command line. Commands parse and print; everything they do is in the runtime."""

from __future__ import annotations

from everlearn.cli.app import main

__all__ = ["main"]
