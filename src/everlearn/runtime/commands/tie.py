"""``tie``: a model whose layers share weights, made of one whose layers do not, and healed.

A folder in which a tying goes on has ``tying.json`` (what is tied, and how) and ``tying.safetensors`` (all
that the next step depends on). When it is done they give way to the model, whose ``config.json`` is written
last.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from everlearn.errors import ConfigError, InputError, RunError, StateError, StorageError
from everlearn.journal.durable_files import make_folder, replacing, storage_errors, write_json
from everlearn.journal.lock import LOCK_NAME, acquire_lock
from everlearn.journal.state_files import read_state_file, write_state_file
from everlearn.learning.tying.healing import Closeness, Healing, HealingConfig, Original
from everlearn.models.encoder.load import Trunk, load_trunk
from everlearn.models.language.causal import LanguageModel, load_language_model
from everlearn.models.storage.folder import TYING_RECORD, find_model_folder
from everlearn.models.tying.folder import save_tied
from everlearn.models.tying.structure import Tying, layer_stack
from everlearn.models.tying.tie import StartName, layer_bytes, tied
from everlearn.runtime.commands.healing_texts import HealingTexts
from everlearn.runtime.interruption import StopFlag
from everlearn.runtime.listener import SILENT, Listener, Progress
from everlearn.runtime.threads import use_threads
from everlearn.types import Json, State

__all__ = ["TieOutcome", "TieRequest", "tie_model"]

_STATE, _KEY = "tying.safetensors", "everlearn.tying"
_FORMAT = 1
_HELD_OUT = {False: 256, True: 64}
"""Texts at the stream's beginning, measured on and never learned: of encoders, of language models."""
_SAVE_SECONDS = 60.0
_TEXTS_A_STEP = {False: 32, True: 8}
"""Of encoders, of language models."""
_NOT_HEALED = (
    "Nothing was healed, so the result says something else than the original; --heal FILE lets it learn."
)
_WRITES = ("ForCausalLM", "LMHeadModel")
"""How the names of language models end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TieRequest:
    """What to tie.

    Attributes:
        model: The encoder or language model; see ``load_trunk`` and ``load_language_model``.
        out: Folder of the result; or of a tying that is to go on.
        unique: How many layers have weights of their own.
        rank: See ``Tying``.
        start: See ``tied``.
        stream: Texts to heal on; None: it is not healed.
        steps: Steps of healing; the stream is read again where it is too short.
        batch_size: Texts a step; None: 32, of a language model 8.
        learning_rate: Peak.
        settings: Dotted settings of how the stream is read.
        threads: See ``use_threads``.
    """

    model: str
    out: Path
    unique: int
    rank: int = 16
    start: StartName = "mean"
    stream: str | None = None
    steps: int = 2000
    batch_size: int | None = None
    learning_rate: float = 5e-4
    settings: dict[str, Any] = field(default_factory=dict)
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TieOutcome:
    """What came of it.

    Attributes:
        out: The folder.
        is_done: Whether the model is there; else the same command goes on.
        steps: Steps of healing made.
        layer_mb: Memory of the layers in float32, in 10⁶ bytes.
        share: The same relative to the original's.
        loss_before: Of the texts that were held out, before healing; None: there were none.
        loss_after: The same, now.
        cosine: Mean cosine of their vectors with the original's, now.
        bits_per_byte: Of the same texts by the original and by the tied model, now; None: it does not write.
        notes: How the stream was read.
    """

    out: Path
    is_done: bool
    steps: int
    layer_mb: float
    share: float
    loss_before: float | None
    loss_after: float | None
    cosine: float | None
    bits_per_byte: tuple[float, float] | None
    notes: list[str]

    def to_json(self) -> dict[str, Json]:
        """As printed by ``--json``."""
        return {**asdict(self), "out": str(self.out)}


def tie_model(
    request: TieRequest, *, listener: Listener = SILENT, stop: StopFlag | None = None
) -> TieOutcome:
    """Tie a model's layers, heal it, and write it; goes on where it was interrupted.

    Raises:
        ConfigError: A setting is wrong, or differs from those of the tying that is to go on.
        RunError: The folder holds something else.
        ModelError: The model cannot be loaded, or its layers cannot be tied.
        InputError: The stream cannot be read, or has too few texts.
        StateError: What was saved of the tying is damaged.
        StorageError: The folder cannot be written.
    """
    use_threads(request.threads)
    if request.stream is None and request.settings:
        useless = next(iter(request.settings))
        raise ConfigError(f"{useless} has no effect where nothing is healed; leave it out")
    _check_free(request.out)
    listener.stage("loading the model")
    original = _original(request.model)
    writes = isinstance(original, LanguageModel)
    config = HealingConfig(
        num_steps=request.steps,
        batch_size=_TEXTS_A_STEP[writes] if request.batch_size is None else request.batch_size,
        learning_rate=request.learning_rate,
    )
    num_layers = len(layer_stack(original.model))
    tying = Tying.even(num_layers, request.unique, request.rank)
    texts, out = (
        HealingTexts(request.stream, request.settings, config.batch_size, _HELD_OUT[writes]),
        request.out,
    )
    record = _described(request, original, tying, config)
    with ExitStack() as opened:
        with storage_errors(out):
            try:
                make_folder(out)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise StorageError(f"cannot make the folder {out}: {error.strerror}") from error
            opened.enter_context(acquire_lock(out))
            saved = _saved(out, record)
            write_json(out / TYING_RECORD, record, indent=1)
        model = tied(original.model, tying, request.start)
        share = layer_bytes(model) / layer_bytes(original.model)
        healing = Healing(original, model, config)
        work = _Work(request, config.batch_size, healing, texts, saved, listener, stop or StopFlag())
        work.run()
        if work.is_done:
            listener.stage("writing the model")
            with storage_errors(out):
                _finish(out, original, model)
        listener.stage("measuring how far it is from the original")
        now = work.now()
        return TieOutcome(
            out=out,
            is_done=work.is_done,
            steps=healing.num_steps,
            layer_mb=layer_bytes(model) / 1e6,
            share=share,
            loss_before=work.loss_before,
            loss_after=None if now is None else now.distance,
            cosine=None if now is None else now.cosine,
            bits_per_byte=None if now is None else now.bits_per_byte,
            notes=texts.notes if texts.held_out else [_NOT_HEALED],
        )


class _Work:
    """Healing from where it stands to its end, or until it is asked to stop."""

    def __init__(
        self,
        request: TieRequest,
        batch_size: int,
        healing: Healing,
        texts: HealingTexts,
        saved: State | None,
        listener: Listener,
        stop: StopFlag,
    ) -> None:
        self._request, self._batch_size, self._healing = request, batch_size, healing
        self._texts = texts
        self._listener, self._stop = listener, stop
        self.loss_before: float | None = None
        self.is_done = request.stream is None
        if saved is not None:
            try:
                healing.restore(saved)
                self.loss_before = float(saved.data["loss_before"])
            except (KeyError, ValueError, RuntimeError, TypeError) as error:
                raise StateError(
                    f"{request.out / _STATE} is damaged: {error}; delete {request.out} and begin anew"
                ) from error

    def run(self) -> None:
        """Make the steps that are left."""
        request, healing = self._request, self._healing
        if request.stream is None:
            return
        if self.loss_before is None:
            self._listener.stage("measuring how far it is from the original")
            before = self.now()
            self.loss_before = None if before is None else before.distance
        self._listener.stage("healing")
        for _ in range(healing.num_steps):
            self._texts.next_batch()  # learned before the interruption
        saved_at = time.monotonic()
        while healing.num_steps < request.steps and not self._stop.requested:
            started = time.monotonic()
            batch = self._texts.next_batch()
            if not batch:
                raise InputError(
                    f"{request.stream} has fewer texts than when it was read first; give it whole"
                )
            loss = healing.step(batch)
            now = time.monotonic()
            self._listener.progress(
                Progress(
                    examples=healing.num_steps,
                    total=request.steps,
                    examples_per_second=self._batch_size / max(now - started, 1e-9),
                    rolling_text=f"loss {loss:.4f}",
                )
            )
            if now - saved_at > _SAVE_SECONDS:
                self._save()
                saved_at = now
        self.is_done = healing.num_steps >= request.steps
        if not self.is_done:
            self._save()

    def now(self) -> Closeness | None:
        """Of the texts that are held out; None: there are none."""
        held_out = self._texts.held_out
        return self._healing.closeness(held_out) if held_out else None

    def _save(self) -> None:
        state, path = self._healing.state(), self._request.out / _STATE
        data = {**state.data, "loss_before": self.loss_before}
        with storage_errors(path), replacing(path) as temporary:
            write_state_file(temporary, _KEY, data, state.tensors)


def _original(spec: str) -> Trunk | LanguageModel:
    """A model in float32: a language model where its configuration says that it is one, else an encoder."""
    _, folder = find_model_folder(spec)
    try:
        named = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or [""]
    except (OSError, ValueError, AttributeError):
        named = [""]  # it is told by who loads it
    if str(named[0]).endswith(_WRITES):
        return load_language_model(spec, dtype="float32")
    return load_trunk(spec, dtype="float32")


def _described(
    request: TieRequest, original: Original, tying: Tying, config: HealingConfig
) -> dict[str, Json]:
    """What the result depends on, as JSON reads it back."""
    return {
        "format": _FORMAT,
        "model": original.name,
        "sha256": original.sha256,
        "groups": list(tying.groups),
        "rank": tying.rank,
        "start": request.start,
        "stream": request.stream,
        "healing": None if request.stream is None else asdict(config),
    }


def _check_free(out: Path) -> None:
    """Whether a model can be made in a folder, or goes on to be made there; before anything long is begun."""
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} exists and is not a folder; choose another with --out")
    if (out / "config.json").exists():
        raise RunError(f"{out} holds a model already; choose another folder with --out")


def _saved(out: Path, record: dict[str, Json]) -> State | None:
    """What was saved of the same tying; None: nothing was.

    Raises:
        ConfigError: Another one goes on in the folder.
        RunError: The folder holds something else.
        StateError: It is damaged.
    """
    if not (out / TYING_RECORD).exists():
        foreign = next((entry.name for entry in sorted(out.iterdir()) if entry.name != LOCK_NAME), None)
        if foreign is not None:
            raise RunError(f"{out} is not empty (it holds {foreign}); choose another folder with --out")
        return None
    try:
        known = json.loads((out / TYING_RECORD).read_text(encoding="utf-8"))
        there, here = (one | (one.get("healing") or {}) | {"healing": None} for one in (known, record))
        differing = next((key for key in here if there.get(key) != here[key]), None)
        if differing is not None:
            raise ConfigError(
                f"in {out} another tying goes on, with {differing.removeprefix('num_')} "
                f"{there.get(differing)!r} and not {here[differing]!r}: give the same, or choose another "
                "folder with --out"
            )
        if not (out / _STATE).exists():
            return None
        data, tensors = read_state_file(out / _STATE, _KEY)
        return State(tensors, data)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise StateError(f"what is saved in {out} is damaged: {error}; delete it and begin anew") from error


def _finish(out: Path, original: Trunk | LanguageModel, model: Any) -> None:
    """Write the model, an encoder with pooling and length; then nothing is left of the tying."""
    if isinstance(original, Trunk):
        _write_layout(out, original)
    save_tied(out, model, original.tokenizer)
    for name in (_STATE, TYING_RECORD, LOCK_NAME):
        (out / name).unlink(missing_ok=True)


def _write_layout(out: Path, original: Trunk) -> None:
    mode = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}[original.pooling]
    make_folder(out / "1_Pooling")
    write_json(out / "1_Pooling" / "config.json", {f"pooling_mode_{mode}": True})
    write_json(out / "sentence_bert_config.json", {"max_seq_length": original.max_length})
    parts = {"Transformer": "", "Pooling": "1_Pooling"}
    write_json(
        out / "modules.json",
        [
            {"idx": k, "name": str(k), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for k, (kind, path) in enumerate(parts.items())
        ],
    )
