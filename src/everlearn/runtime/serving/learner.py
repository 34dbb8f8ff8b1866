"""A service's process that has the runs.

    python -m everlearn.runtime.serving.learner PLACE PUBLISH_SHARE [BUDGET_MB]

It answers messages from standard input on standard output until that is closed; then it does what is left,
writes checkpoints, and ends. Answers come when they are there, each with the number of its message:

    {"number": 7, "op": "learn", "tenant": …, "examples": […]}  →  {"to": 7, "results": […], …}
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock, Timer

from everlearn.errors import EverlearnError
from everlearn.log_lines import prepare_logs_as_told
from everlearn.pipe_frames import frame_of, read_message
from everlearn.process_memory import collect_seldom, give_large_blocks_back
from everlearn.runtime.serving.desk import Desk
from everlearn.runtime.serving.place import Place, open_place
from everlearn.runtime.serving.told import error_told
from everlearn.runtime.threads import use_threads
from everlearn.types import Json

__all__: list[str] = []

_LOG = logging.getLogger(__name__)

_SECONDS_TO_LOADING = 3.0
"""From the start, in which prediction processes load theirs. A label that comes before loads it, too."""


def _load_encoder(place: Place) -> None:
    try:
        place.load_encoder()
    except EverlearnError as error:  # whoever needs it is told
        _LOG.debug("%s", error)


def _main() -> None:
    # Whatever a library prints is not to be taken for an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends when the service closes the pipe
    lock = Lock()

    def tell(message: Json) -> None:
        frame = frame_of(message)
        with lock, suppress(BrokenPipeError):  # the service has gone; the end of its messages says so, too
            answers.write(frame)
            answers.flush()

    prepare_logs_as_told(os.environ)
    give_large_blocks_back()
    collect_seldom()
    use_threads(int(os.environ["EVERLEARN_LEARNER_THREADS"]))
    try:
        place = open_place(Path(sys.argv[1]), float(sys.argv[3]) if len(sys.argv) > 3 else None)
    except EverlearnError as error:
        tell(error_told(error))
        return
    try:
        tell({"ready": True, "tenants": place.tenants(), "is_hub": place.is_hub})
        place.make_ready()
        desk = Desk(place, tell, float(sys.argv[2]))
        loading = Timer(_SECONDS_TO_LOADING, _load_encoder, [place])
        loading.daemon = True
        loading.start()
        while (message := read_message(sys.stdin.buffer)) is not None:
            desk.take(message)
        desk.close()
    finally:
        place.close()


if __name__ == "__main__":
    _main()
