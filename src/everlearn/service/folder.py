"""Where a service keeps what is its own: beside the run or hub that it serves."""

from __future__ import annotations

from pathlib import Path

from everlearn.errors import RunError

__all__ = ["service_folder"]

_MARKS = ("run.json", "hub.json")


def service_folder(place: Path) -> Path:
    """The service's folder of a run or a hub; it may not be there yet.

    Raises:
        RunError: There is neither.
    """
    if not any((place / mark).is_file() for mark in _MARKS):
        what = "is neither a run nor a hub" if place.exists() else "is not there"
        raise RunError(
            f"{place} {what}: `everlearn learn STREAM --out {place}` makes a run, "
            f"`everlearn hub add {place} TENANT` a hub"
        )
    return place / "service"
