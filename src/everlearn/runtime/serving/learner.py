"""A service's process that has the runs.

It answers messages until there will be no more; then it does what is left, writes checkpoints, and ends.
Answers come when they are there, each with the number of its message:

    {"number": 7, "op": "learn", "tenant": …, "examples": […]}  →  {"to": 7, "results": […], …}
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import IO

from everlearn.errors import EverlearnError
from everlearn.message_frames import frame_of, read_message
from everlearn.runtime.serving.desk import Desk
from everlearn.runtime.serving.place import Place, open_place
from everlearn.runtime.serving.told import error_told
from everlearn.runtime.threads import use_threads
from everlearn.types import Json

__all__ = ["run"]

_LOG = logging.getLogger(__name__)


def _load_encoder(place: Place) -> None:
    try:
        place.load_encoder()
    except EverlearnError as error:  # whoever needs it is told
        _LOG.debug("%s", error)


def run(arguments: Sequence[str], messages: IO[bytes], answers: IO[bytes]) -> None:
    """Be the process.

    Args:
        arguments: The place, threads to compute with, the share of ``Desk``; and the budget of
            ``Hub.open``, if there is one.
        messages: From the service.
        answers: To it.
    """
    lock = Lock()

    def tell(message: Json) -> None:
        frame = frame_of(message)
        with lock, suppress(BrokenPipeError):  # the service has gone; the end of its messages says so, too
            answers.write(frame)
            answers.flush()

    use_threads(int(arguments[1]))
    try:
        place = open_place(Path(arguments[0]), float(arguments[3]) if len(arguments) > 3 else None)
    except EverlearnError as error:
        tell(error_told(error))
        return
    try:
        tell({"ready": True, "tenants": place.tenants(), "is_hub": place.is_hub})
        place.make_ready()
        desk = Desk(place, tell, float(arguments[2]))
        # A label that comes before it is loaded waits for it.
        Thread(target=_load_encoder, args=[place], daemon=True).start()
        while (message := read_message(messages)) is not None:
            desk.take(message)
        desk.close()
    finally:
        place.close()
