"""Where a service keeps what is its own: beside the run or hub that it serves."""

from __future__ import annotations

from pathlib import Path

from everlearn.errors import RunError

__all__ = ["service_folder"]

_MARKS = ("run.json", "hub.json")
_SHOWN = 5


def service_folder(place: Path) -> Path:
    """The service's folder of a run or a hub; it may not be there yet.

    Raises:
        RunError: There is neither.
    """
    if not _is_place(place):
        raise RunError(_what_it_is(place))
    return place / "service"


def _is_place(path: Path) -> bool:
    return any((path / mark).is_file() for mark in _MARKS)


def _what_it_is(path: Path) -> str:
    """What a path is that is no run or hub, and what to do; no command that is named writes over anything."""
    if path.is_file():
        return (
            f"{path} is a file, not the folder of a run or a hub: `everlearn learn {path} --out RUN` "
            "makes a run of a stream, and `everlearn serve RUN` serves it"
        )
    makes = f"`everlearn learn STREAM --out {path}` makes a run, `everlearn hub add {path} TENANT` a hub"
    if not path.is_dir():
        return f"{path} is not there: {makes}"
    inside = _places_in(path)
    if inside:
        named = ", ".join(f"`everlearn serve {one}`" for one in inside[:_SHOWN])
        more = f" and {len(inside) - _SHOWN:,} more" if len(inside) > _SHOWN else ""
        return f"{path} is neither a run nor a hub, but holds what can be served: {named}{more}"
    return f"{path} is neither a run nor a hub: {makes}"


def _places_in(folder: Path) -> list[Path]:
    """Runs and hubs that are in a folder, or in a folder of it; sorted."""
    return sorted(
        {mark.parent for name in _MARKS for depth in ("*", "*/*") for mark in folder.glob(f"{depth}/{name}")}
    )
