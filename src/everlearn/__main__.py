"""``python -m everlearn``."""

from __future__ import annotations

from everlearn.cli import main

if __name__ == "__main__":
    main()
