"""The sittings that made the newest set: from the models and streams in a place to a run of each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.golden.runs import command, forget
from tests.runtime.text_runs import learn

__all__ = ["RECIPES"]


def _closed_form(place: Path, run: Path) -> list[str]:
    """A guard that refuses a stretch, settled flags, delays, corrections, dropped texts, a way back."""
    stream = place / "stream.codes.parquet"
    settings = {
        "learner.closed_form.num_features": 64,
        "learner.closed_form.gram_bits": 8,
        "learner.closed_form.sample_size": 64,
        "stream.batch_size": 25,
        "stream.delay": 30,
        "guard.enabled": True,
        "guard.every": 100,
        "guard.share": 0.2,
        "guard.recent": 60,
        "guard.long_term": 60,
        "run.threads": 1,
        "run.keep_checkpoints": 1,
        "run.keep_versions": 2,
        "run.keep_text": True,
    }
    learn(stream, run, settings, batches=20)
    (history,) = command("versions", run, "--json")
    command("rollback", run, str(history["versions"][-2]["version"]), "--reason", "tried", "--json")
    learn(place / "late.jsonl", run)
    learn(stream, run, batches=2)
    (suspicious,) = command("review", run, "--json")
    flagged = [flag["id"] for flag in suspicious["flagged"]]
    command("review", run, "--accept", flagged[0], "--reject", flagged[1], "--json")
    command("journal", "compact", run, "--drop-text-after", "0", "--json")
    forget(run, ("message-40", "message-41", "message-305"))
    learn(stream, run, batches=4)
    return ["message-20", "message-31", "message-310", "message-450", "message-500", *flagged[:3]]


def _gradient(place: Path, run: Path) -> list[str]:
    """Replay, targets that come with delay, late and corrected ones, a text that cannot be learned."""
    settings = {
        "learner.kind": "gradient",
        "model.name": str(place / "model"),
        "learner.gradient.learning_rate": 3e-3,
        "learner.gradient.warmup_steps": 2,
        "learner.gradient.replay": 24,
        "stream.batch_size": 8,
        "stream.delay": 12,
    }
    _sittings(place, run, settings, (6, 2), ("message-30", "message-52"))
    return ["message-9", "message-12", "message-22", "message-60"]


def _language(place: Path, run: Path) -> list[str]:
    """Pieces, lanes, the default window, LoRA, replay, averaged weights; one document cannot be learned."""
    settings = {
        "task": "lm",
        "model.name": str(place / "model"),
        "model.dtype": "float32",
        "model.device": "cpu",
        "learner.language.lanes": 2,
        "learner.language.chunk_length": 32,
        "learner.language.tokens_per_step": 64,
        "learner.gradient.lora_rank": 2,
        "learner.gradient.learning_rate": 3e-3,
        "learner.gradient.warmup_steps": 2,
        "learner.gradient.replay": 10,
        "learner.gradient.average_decay": 0.9,
        "stream.piece_bytes": 64,
    }
    _sittings(place, run, settings, (8, 2), ("doc-9", "doc-16"))
    return ["doc-1", "doc-8", "late-1", "doc-20"]


def _translation(place: Path, run: Path) -> list[str]:
    """Delayed pairs, a late translation, another one later, and a token that the model has no row for."""
    settings = {
        "task": "seq2seq",
        "model.name": str(place / "model"),
        "model.dtype": "float32",
        "model.device": "cpu",
        "learner.gradient.optimizer": "momentum",
        "learner.gradient.learning_rate": 5e-3,
        "learner.gradient.warmup_steps": 2,
        "learner.gradient.replay": 16,
        "stream.batch_size": 8,
        "stream.delay": 6,
    }
    _sittings(place, run, settings, (4, 1), ("pair-14", "pair-39"))
    return ["pair-5", "pair-7", "pair-40"]


def _sittings(
    place: Path, run: Path, settings: dict[str, Any], batches: tuple[int, int], gone: tuple[str, ...]
) -> None:
    """Late targets, a deletion, a version that is taken back, and some more of the stream."""
    stream, (at_first, later) = place / "stream.jsonl", batches
    kept = {"run.threads": 1, "run.keep_checkpoints": 1, "run.keep_versions": 3}
    learn(stream, run, settings | kept, batches=at_first)
    learn(place / "late.jsonl", run)
    learn(stream, run, batches=later)
    forget(run, gone)
    learn(stream, run, batches=later)
    learn(stream, run, batches=later)
    command("rollback", run, "4", "--reason", "tried", "--json")
    learn(stream, run, batches=later)


RECIPES: Mapping[str, Callable[[Path, Path], list[str]]] = {
    "closed-form": _closed_form,
    "gradient": _gradient,
    "language": _language,
    "translation": _translation,
}
"""Each makes a run from what lies in a place, and returns ids of examples that are worth a look."""
