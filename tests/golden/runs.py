"""Runs in the format of an earlier version: where they are kept, and what a run shows of itself."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from typer.testing import CliRunner

from everlearn.cli.app import app
from everlearn.runtime.commands.predict import predict_stream

__all__ = ["ARCHIVES", "KINDS", "PLACE", "command", "numerics", "observed", "pack", "unpack"]

ARCHIVES = Path(__file__).parent / "archives"
KINDS = ("closed-form", "gradient", "language", "translation")

PLACE = Path("/tmp/everlearn-golden-1")
"""Where models and streams stand. A run knows both by absolute paths, which its chain of hashes covers, so
the same paths are needed on every machine to go on in a stream where the run stopped."""

_LEFT_OUT = ("report.html", ".lock", "journal.sqlite-shm", "journal.sqlite-wal")
"""Five megabytes of plotly, written again from what the run holds; what a process leaves that closes one."""


def command(*arguments: str | Path, code: int = 0) -> list[Any]:
    """Run the program in this process; returns what it printed as JSON, if it was to."""
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    if result.exit_code != code:
        raise AssertionError(
            f"{arguments}: exit code {result.exit_code}: {result.output}"
        ) from result.exception
    decoder, text, found = json.JSONDecoder(), result.stdout.strip(), []
    while text and "--json" in arguments:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    return found


def observed(run: Path, kind: str, ids: list[str]) -> dict[str, Any]:
    """What a run shows: versions and decisions, what it knows of some examples, and what it predicts."""
    probe = PLACE / kind / ("probe.codes.parquet" if kind == "closed-form" else "probe.jsonl")
    (history,) = command("versions", run, "--decisions", "--json")
    found = {
        "versions": history,
        "blame": {id_: command("blame", run, "--id", id_, "--json")[0] for id_ in ids},
        "diff": command("diff", run, "1", "2", "--json")[0],
        "scores": command("evaluate", run, probe, "--json")[0],
    }
    if kind != "language":
        found["predictions"] = [one.to_json() for one in predict_stream(run, str(probe))]
    return found


def numerics() -> str:
    """Stands for how this machine rounds: equal where sums of floats come out alike, to the bit."""
    generator = torch.Generator().manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        digest = hashlib.sha256(torch.__version__.encode())
        for size in (16, 24, 32, 64):
            x = torch.randn(2, 2, size, size, generator=generator, requires_grad=True)
            attended = functional.scaled_dot_product_attention(x, x, x, is_causal=True)
            normed = functional.layer_norm(attended @ x, (size,))
            loss = functional.cross_entropy(
                functional.silu(normed).reshape(-1, size), torch.arange(4 * size) % size
            )
            loss.backward()  # type: ignore[no-untyped-call]
            assert x.grad is not None
            digest.update(x.grad.numpy().tobytes() + loss.detach().numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    return digest.hexdigest()


def pack(kind: str) -> Path:
    """Put everything of a run into its archive."""
    ARCHIVES.mkdir(exist_ok=True)
    path = ARCHIVES / f"{kind}.tar.xz"

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    for name in _LEFT_OUT:
        (PLACE / kind / "run" / name).unlink(missing_ok=True)
    with tarfile.open(path, "w:xz", preset=9) as archive:
        for entry in sorted((PLACE / kind).iterdir()):
            archive.add(entry, entry.name, filter=plain)
    return path


def unpack(kind: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Copy a run into a folder, its model and streams to their place; returns the run and what it showed."""
    with tarfile.open(ARCHIVES / f"{kind}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    _put_in_place(folder, PLACE / kind)
    expected: dict[str, Any] = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return folder / "run", expected


def _put_in_place(folder: Path, place: Path) -> None:
    """Several processes may do so at once: every file appears whole, and one that is right stays."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_dir() or relative.parts[0] in ("run", "expected.json"):
            continue
        target = place / relative
        if target.is_file() and target.read_bytes() == path.read_bytes():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as copy:
            copy.write(path.read_bytes())
        os.replace(copy.name, target)


def made_anew(kind: str, make: Callable[[Path], None]) -> Path:
    """Make a run in its place, from nothing, and pack it."""
    place = PLACE / kind
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    with contextlib.redirect_stdout(io.StringIO()):
        make(place)
    return pack(kind)
