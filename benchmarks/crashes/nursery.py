"""A process that has imported everything and forks the processes which are killed, each in a moment.

Run as ``python -m benchmarks.crashes.nursery``; it reads a request a line and answers with two lines, one
when the process has begun and one when it has ended. Nothing but imports happens before a fork, so each
begins as a fresh start of the program would.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.crashes.probe import BOARD_BYTES, PHASES, Arming, Probe, read_board

__all__ = ["Ended", "Nursery"]

_POLL_SECONDS = 0.001
_REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended.

    Attributes:
        code: Its exit code; negative: the signal that killed it.
        phase: What it was doing.
        board: Everything else that it told.
        started_ns: When it began, ``time.monotonic_ns()``.
        ended_ns: When its end was seen.
    """

    code: int
    phase: str
    board: Mapping[str, int]
    started_ns: int
    ended_ns: int

    @property
    def was_killed(self) -> bool:
        """Whether it was killed."""
        return self.code == -signal.SIGKILL


class Nursery:
    """Runs ``everlearn`` in processes that may be killed; a context manager.

    Args:
        folder: For the shared memory and the log.
    """

    def __init__(self, folder: Path) -> None:
        self._board_path = folder / "board"
        self._board_path.write_bytes(bytes(BOARD_BYTES))
        self.log = folder / "log.txt"
        with self._board_path.open("r+b") as file:
            self._board = memoryview(mmap.mmap(file.fileno(), BOARD_BYTES)).cast("q")
        paths = [str(_REPOSITORY), str(_REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.crashes.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "COLUMNS": "200",
                "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            },
        )

    def run(
        self, arguments: Sequence[str | Path], arming: Arming | None = None, phase: str | None = None
    ) -> Ended:
        """Run one command to its end, or to its being killed.

        Args:
            arguments: What follows ``everlearn``.
            arming: When it is to be killed; None: never.
            phase: What it is doing all the time; None: as its functions say.
        """
        for slot in range(len(self._board)):
            self._board[slot] = 0
        self._send(
            {
                "arguments": [str(one) for one in arguments],
                "board": str(self._board_path),
                "log": str(self.log),
                "arming": None if arming is None else asdict(arming),
                "phase": phase,
            }
        )
        pid = int(self._answer())
        started = time.monotonic_ns()
        if arming is not None and arming.seconds is not None:
            self._kill_in_time(pid, arming, started)
        code = int(self._answer())
        board = read_board(self._board)
        return Ended(
            code=code,
            phase=PHASES[board["phase"]],
            board=board,
            started_ns=started,
            ended_ns=time.monotonic_ns(),
        )

    def _kill_in_time(self, pid: int, arming: Arming, started: int) -> None:
        assert arming.seconds is not None
        assert self._process.stdout is not None
        moment = None
        while not select.select([self._process.stdout], [], [], _POLL_SECONDS)[0]:
            now = time.monotonic_ns()
            if moment is None and self._is_reached(arming):
                moment = (started if arming.anchor == "start" else now) + round(1e9 * arming.seconds)
            if moment is not None and now >= moment:
                # It keeps its number until the next request, also where it has just ended by itself.
                os.kill(pid, signal.SIGKILL)
                return

    def _is_reached(self, arming: Arming) -> bool:
        board = read_board(self._board)
        if arming.anchor == "step":
            return board["step"] >= arming.step
        return arming.anchor == "start" or board["ending_ns"] > 0

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps(request) + "\n").encode())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the nursery has ended; see {self.log}")
        return line.decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _main() -> None:
    import gc

    import pyarrow.dataset  # noqa: F401
    import transformers  # noqa: F401

    import everlearn.models.encoder.load
    import everlearn.runtime.commands.learn  # noqa: F401
    from everlearn.cli.app import main

    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(request, main)
        print(pid, flush=True)
        # Without reaping it, so that its number stays its own until nobody may kill it any more.
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        print(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status, flush=True)
        _reap_before_next(pid)


def _reap_before_next(pid: int) -> None:
    # The parent has read the answer once it sends something, or closes the pipe.
    select.select([sys.stdin], [], [])
    os.waitpid(pid, 0)


def _child(request: Mapping[str, Any], main: Any) -> None:
    code = 1
    try:
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        arming = None if request["arming"] is None else Arming(**request["arming"])
        Probe(Path(request["board"]), arming, request["phase"]).install()
        sys.argv = ["everlearn", *request["arguments"]]
        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _main()
