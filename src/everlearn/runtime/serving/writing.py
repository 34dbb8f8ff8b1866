"""A service's process that writes text.

It generates by what runs of language models and encoder-decoders have saved and serve. It answers messages
until there will be no more, each piece of text as soon as it is certain:

    {"number": 7, "op": "write", "tenant": …, "version": …, "prompt": …, "chat": …, "settings": {…}}
        →  {"to": 7, "text": "Once"}, …, {"to": 7, "end": "stop", "prompt_tokens": …, "by": {…}, …}
    {"number": 7, "op": "stop"}  →  nothing: whoever asked for it has gone

One text is written after the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Any

from everlearn.errors import EverlearnError
from everlearn.journal.checkpoints import Checkpoint
from everlearn.learning.run_learner import RunLearner
from everlearn.message_frames import frame_of, read_message
from everlearn.models.language.generation import GenerationSettings, generate
from everlearn.models.language.tokens import tokenize_prompt
from everlearn.models.storage.pretrained import max_length_of
from everlearn.runtime.folder.run_folder import RunFolder, is_run_folder
from everlearn.runtime.folder.serving import served_checkpoint, served_state, served_version
from everlearn.runtime.hub.looking import tenants_at
from everlearn.runtime.serving.told import UnknownVersionError, error_told
from everlearn.runtime.threads import use_threads
from everlearn.tasks.task import Task
from everlearn.types import Json

__all__ = ["run"]

_LOG = logging.getLogger(__name__)

_MOST_NEW_TOKENS = 512
"""Where it is not said how many may be written."""


class _Stopped(Exception):
    """Whoever asked for a text has gone."""


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    """A model, and what it is: whose, which version was asked for, the names of its states, what it is."""

    tenant: str
    version: int | None
    states: tuple[str, ...]
    learner: RunLearner
    task: Task
    by: dict[str, Json]


class _Counting:
    """A model that says how many tokens it has read and written when it was last asked."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.num_read = self.num_written = 0
        self.has_ended = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, **asked: Any) -> Any:
        """See transformers."""
        rows = self._model.generate(**asked)
        self.num_read = int(asked["input_ids"].shape[1])
        begins = 1 if self._model.config.is_encoder_decoder else self.num_read
        self.num_written = int(rows.shape[1]) - begins
        ends = asked["generation_config"].eos_token_id
        last = int(rows[0, -1])
        self.has_ended = self.num_written > 0 and last in ([ends] if isinstance(ends, int) else ends or ())
        return rows


class _Writers:
    """Models that write, by tenant; one is in memory at a time.

    Args:
        path: A hub, or a run.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tenants = None if is_run_folder(path) else tenants_at(path)
        self._loaded: _Loaded | None = None

    def write(self, asked: Mapping[str, Json], on_text: Callable[[str], None]) -> dict[str, Json]:
        """Write a text; returns what there is to say at its end.

        Raises:
            EverlearnError: As of ``generate``; or the run holds no such model or version.
        """
        loaded = self._model(str(asked["tenant"]), asked["version"])
        writer = loaded.task.writing_model(loaded.learner, str(asked["tenant"]))
        model, notes = _Counting(writer.model), list[str]()
        with writer.averaged:
            settings = self._settings(model, writer.tokenizer, asked)
            generate(
                model, writer.tokenizer, asked["prompt"], settings, on_text=on_text, on_note=notes.append
            )
        is_cut = not model.has_ended and model.num_written >= settings.max_new_tokens
        return {
            "end": "length" if is_cut else "stop",
            "prompt_tokens": model.num_read,
            "completion_tokens": model.num_written,
            "notes": notes,
            "by": loaded.by,
        }

    def _settings(self, model: _Counting, tokenizer: Any, asked: Mapping[str, Json]) -> GenerationSettings:
        given = dict(asked["settings"])
        is_translation = bool(model.config.is_encoder_decoder)
        if given.get("max_new_tokens") is None:
            given["max_new_tokens"] = _MOST_NEW_TOKENS
            limit = max_length_of(model.config, tokenizer)
            if limit is not None and not is_translation:
                length = len(tokenize_prompt(tokenizer, asked["prompt"], chat=asked["chat"]))
                given["max_new_tokens"] = max(1, min(_MOST_NEW_TOKENS, limit - length))
        if given.get("temperature") is None:
            given["temperature"] = 0.0 if is_translation else 1.0
        return GenerationSettings(
            chat=asked["chat"] and not is_translation,
            **{**given, "stop": tuple(given.get("stop") or ())},
        )

    def _model(self, tenant: str, version: int | None) -> _Loaded:
        """What a tenant writes by now, or a version of it."""
        path = self._path if self._tenants is None else self._tenants.run_folder(tenant)
        with RunFolder.open_to_read(path) as folder:
            states = served_state(folder) if version is None else (_file_of(folder, version),)
            known = self._loaded
            if known is not None and (known.tenant, known.version, known.states) == (tenant, version, states):
                return known
            self._loaded = known = None  # two would need twice the memory
            checkpoint: Checkpoint
            if version is None:
                served, checkpoint = served_version(folder), served_checkpoint(folder)
                number = None if served is None else served.version
            else:
                number, checkpoint = version, folder.checkpoints.load(states[0])
            learner = folder.fresh_learner(checkpoint.generation)
            learner.restore(checkpoint.learner)
            by: dict[str, Json] = {"version": number, "step": checkpoint.step}
            self._loaded = _Loaded(tenant, version, states, learner, folder.task, by)
            return self._loaded


def _file_of(folder: RunFolder, version: int) -> str:
    found = folder.history.version(version)
    if found is None or found.file is None:
        raise UnknownVersionError(f"there is no version {version} of which the state is kept")
    return found.file


class _Answers:
    """What is told, and whom there is no need to tell any more. Any thread may tell."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._lock = Lock()
        self._open: set[int] = set()
        self._is_closing = False

    def tell(self, message: Json) -> None:
        frame = frame_of(message)
        with self._lock, suppress(BrokenPipeError):  # the service has gone; the end of its messages says so
            self._file.write(frame)
            self._file.flush()

    def expect(self, number: int) -> None:
        """Somebody waits for this answer."""
        self._open.add(number)

    def drop(self, number: int) -> None:
        """Nobody waits for it any more."""
        self._open.discard(number)

    def close(self) -> None:
        """Nobody waits for any."""
        self._is_closing = True

    def is_wanted(self, number: int) -> bool:
        """Whether somebody waits for an answer."""
        return number in self._open and not self._is_closing


def _write(writers: _Writers, answers: _Answers, message: Mapping[str, Json]) -> None:
    number = message["number"]

    def on_text(text: str) -> None:
        if not answers.is_wanted(number):
            raise _Stopped
        answers.tell({"to": number, "text": text})

    try:
        if answers.is_wanted(number):
            answers.tell({"to": number, **writers.write(message, on_text)})
    except _Stopped:
        return
    except EverlearnError as error:
        answers.tell({"to": number, **error_told(error)})
    except Exception as error:
        _LOG.error("a text could not be written", exc_info=error)
        answers.tell({"to": number, "error": type(error).__name__, "message": str(error)})
    finally:
        answers.drop(number)


def run(arguments: Sequence[str], messages: IO[bytes], answers: IO[bytes]) -> None:
    """Be the process.

    Args:
        arguments: The place, and threads to compute with.
        messages: From the service.
        answers: To it.
    """
    told = _Answers(answers)
    use_threads(int(arguments[1]))
    try:
        writers = _Writers(Path(arguments[0]))
    except EverlearnError as error:
        told.tell(error_told(error))
        return
    told.tell({"ready": True})
    with ThreadPoolExecutor(1, thread_name_prefix="writing") as thread:
        while (message := read_message(messages)) is not None:
            if message["op"] == "stop":
                told.drop(message["number"])
            else:
                told.expect(message["number"])
                thread.submit(_write, writers, told, message)
        told.close()
