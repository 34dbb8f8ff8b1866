"""What a run shows of itself, as it is and as it goes on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from tests.golden.sets import Archive
from torch.nn import functional
from typer.testing import CliRunner

from everlearn.cli.app import app
from everlearn.runtime.commands.predict import predict_stream

__all__ = ["FORGOTTEN", "command", "fingerprints_of_going_on", "forget", "go_on", "numerics", "observed"]

Said = dict[str, Any]

FORGOTTEN = {
    "closed-form": ("message-200", "message-310", "message-20"),
    "gradient": ("message-60", "message-9"),
    "language": ("doc-20", "late-1"),
    "translation": ("pair-40", "pair-7"),
}
"""What is deleted of a run of each kind when it has gone on."""


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


def observed(run: Path, archive: Archive, ids: list[str]) -> dict[str, Any]:
    """What a run shows: versions and decisions, what it knows of some examples, and what it predicts."""
    probe = archive.stream("probe")
    (history,) = command("versions", run, "--decisions", "--json")
    found = {
        "versions": history,
        "blame": {id_: command("blame", run, "--id", id_, "--json")[0] for id_ in ids},
        "diff": command("diff", run, "1", "2", "--json")[0],
        "scores": command("evaluate", run, probe, "--json")[0],
    }
    if archive.kind != "language":
        found["predictions"] = [one.to_json() for one in predict_stream(run, str(probe))]
    return found


def go_on(run: Path, archive: Archive) -> tuple[Said, Said]:
    """Learn the rest of its stream, and another one; returns what ``learn`` said of each."""
    (ended,) = command("learn", archive.stream("stream"), "--out", run, "--json")
    (more,) = command("learn", archive.stream("more"), "--out", run, "--json")
    return ended, more


def forget(run: Path, ids: tuple[str, ...]) -> Said:
    """Delete examples; returns what ``forget`` said."""
    said: Said
    (said,) = command("forget", run, *(word for id_ in ids for word in ("--id", id_)), "--json")
    return said


def fingerprints_of_going_on(ended: Said, more: Said, forgotten: Said) -> list[str]:
    """What was learned after each of these, by what ``go_on`` and ``forget`` said."""
    return [ended["fingerprint"], more["fingerprint"], forgotten["fingerprint_after"]]


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
