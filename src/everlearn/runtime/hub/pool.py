"""Prediction processes of a hub, which map one encoder and the same heads."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import everlearn
from everlearn import errors
from everlearn.errors import EverlearnError, RunError
from everlearn.runtime.hub.frames import predictions_from, read_frame, write_frame
from everlearn.types import FloatArray, Json, Prediction

__all__ = ["PredictionPool"]

_LEAST_TEXTS = 4
"""Of so many a batch is divided among processes: passing them on costs something, too."""
_SECONDS_TO_END = 5.0


class PredictionPool:
    """Processes that predict for a hub. Any thread may ask; a batch is divided among those that are free.

    A process that was killed is started again, and what it was asked is asked again.

    Args:
        path: The hub's folder.
        num_processes: How many.
        budget: Bytes of heads that each keeps mapped; None: no bound. (Pages are shared, so it is not used as
            many times.)

    Raises:
        EverlearnError: They cannot start; the message says why.
    """

    def __init__(self, path: Path, num_processes: int, budget: int | None = None) -> None:
        self._arguments = [str(path.resolve())] + ([] if budget is None else [str(budget)])
        self._num_processes = num_processes
        self._free: queue.SimpleQueue[_Process | None] = queue.SimpleQueue()  # None: it is closed
        self._threads = ThreadPoolExecutor(num_processes, thread_name_prefix="everlearn-pool")
        started = [_Process(self._arguments) for _ in range(num_processes)]
        try:
            for process in started:
                process.wait_until_ready()
        except BaseException:
            for process in started:
                process.end()
            self._threads.shutdown()
            raise
        for process in started:
            self._free.put(process)

    def predict(self, asked: Sequence[tuple[str, str]]) -> list[Prediction | None]:
        """What tenants say of texts by what they have published; None where one has published nothing.

        Raises:
            EverlearnError: As ``HubReader.predict_published``.
        """
        # Where others are asking, too, each request is for one process: dividing them all gains nothing.
        num_parts = max(1, min(self._free.qsize(), len(asked) // _LEAST_TEXTS))
        if num_parts == 1:
            return self._ask(asked)
        # A tenant's texts stay together as far as that goes: each tenant has a price of its own.
        order = sorted(range(len(asked)), key=lambda place: asked[place][0])
        cuts = [len(order) * k // num_parts for k in range(num_parts + 1)]
        parts = [order[start:stop] for start, stop in pairwise(cuts)]
        answers = self._threads.map(self._ask, [[asked[place] for place in part] for part in parts])
        found: list[Prediction | None] = [None] * len(asked)
        for part, predictions in zip(parts, answers, strict=True):
            for place, prediction in zip(part, predictions, strict=True):
                found[place] = prediction
        return found

    def process_ids(self) -> list[int]:
        """Of the processes that nobody is asking at the moment."""
        taken: list[_Process | None] = []
        with suppress(queue.Empty):
            while True:
                taken.append(self._free.get_nowait())
        for process in taken:
            self._free.put(process)
        return sorted(process.pid for process in taken if process is not None)

    def close(self) -> None:
        """End the processes, each when it has answered."""
        for _ in range(self._num_processes):
            process = self._free.get()
            if process is None:  # it is closed already
                break
            process.end()
        self._free.put(None)
        self._threads.shutdown()

    def _ask(self, asked: Sequence[tuple[str, str]]) -> list[Prediction | None]:
        process = self._free.get()
        if process is None:
            self._free.put(None)  # for others who wait
            raise RunError("the hub is closed here; open it again")
        try:
            answer = process.ask({"asked": [list(pair) for pair in asked]})
            if answer is None:  # it was killed
                process.end()
                process = _Process(self._arguments)
                process.wait_until_ready()
                answer = process.ask({"asked": [list(pair) for pair in asked]})
            if answer is None:
                raise RunError("a prediction process ended twice while it was asked; its error is above")
        finally:
            self._free.put(process)
        message, probabilities = answer
        if "error" in message:
            raise _error(message)
        return predictions_from(message["said"], probabilities)


class _Process:
    def __init__(self, arguments: Sequence[str]) -> None:
        source = str(Path(everlearn.__file__).parent.parent)
        path = os.environ.get("PYTHONPATH")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "everlearn.runtime.hub.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": source if not path else f"{source}{os.pathsep}{path}"},
            start_new_session=True,  # Ctrl-C is for the hub to deal with
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self) -> None:
        answer = read_frame(self._answers)
        if answer is None:
            raise RunError("a prediction process could not be started; its error is above")
        if "error" in answer[0]:
            raise _error(answer[0])

    def ask(self, question: Json) -> tuple[Json, FloatArray] | None:
        """Its answer; None: it has ended."""
        try:
            write_frame(self._questions, question)
        except (BrokenPipeError, ValueError):
            return None
        return read_frame(self._answers)

    def end(self) -> None:
        with suppress(BrokenPipeError):
            self._questions.close()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()


def _error(message: Json) -> EverlearnError:
    kind = getattr(errors, str(message["error"]), None)
    if not isinstance(kind, type) or not issubclass(kind, EverlearnError):
        kind = EverlearnError
    return kind(message["message"])
