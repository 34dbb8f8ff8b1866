"""The process that a service's other processes are forked from: ``python -m everlearn.runtime.serving.host``.

It loads the libraries, and does nothing else. What is forked from it has them at once, in memory that all of
them share: else each would load them for seconds, into some 300 MB of its own.

Standard input is a socket, on which lines of JSON ask for processes. With each comes the socket that the new
process takes its messages from and answers on, until its other side is closed:

    {"process": "worker", "arguments": […]}  →  {"pid": 7} or {"error": …}, and once it has ended
                                                {"pid": 7, "code": 0}

Fork is safe here because this process has no thread of its own and has computed nothing: no lock is held.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import IO, Any, NoReturn

from everlearn.log_lines import prepare_logs_as_told
from everlearn.process_memory import collect_seldom, give_large_blocks_back

__all__: list[str] = []

_LOG = logging.getLogger(__name__)

_MOST_BYTES = 1 << 16
_PROCESSES = {
    "learner": "everlearn.runtime.serving.learner",
    "worker": "everlearn.runtime.serving.worker",
    "writer": "everlearn.runtime.serving.writing",
}
_OF_MODELS = ("transformers.modeling_utils", "transformers.models.auto.modeling_auto")
"""What loading a model imports: most of the time that it takes."""

_Run = Callable[[Sequence[str], IO[bytes], IO[bytes]], None]


def _main() -> None:
    # Who starts it may leave descriptors open in it: processes that outlive it would keep its socket open.
    for name in os.listdir("/dev/fd"):
        if int(name) > 2:
            with suppress(OSError):  # that of the list itself
                os.close(int(name))
    # It ends when the service closes the socket, as the others do: so what stops all processes at once stops
    # none of them halfway.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Threads that a library started by itself are its own to bring through a fork, as those of jemalloc are.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    _be_called("everlearn-host")
    prepare_logs_as_told(os.environ)
    collect_seldom()
    runs = _loaded()
    with socket.socket(fileno=os.dup(0)) as asked, DefaultSelector() as selector:
        ended_read, ended_write = os.pipe()
        os.set_blocking(ended_read, False)
        os.set_blocking(ended_write, False)
        signal.set_wakeup_fd(ended_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        selector.register(asked, EVENT_READ)
        selector.register(ended_read, EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is asked:
                    if not _fork(runs, asked, (ended_read, ended_write, selector.fileno())):
                        return
                else:
                    with suppress(BlockingIOError):
                        os.read(ended_read, _MOST_BYTES)
                    _tell_ended(asked)


def _loaded() -> dict[str, _Run]:
    """What processes do, with all libraries loaded."""
    # Libraries read these when they are loaded. Who computes with more threads says so (``use_threads``).
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    # Whether there is a GPU is asked without using it: CUDA, once in use, does not outlive a fork.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    gc.disable()  # what is loaded stays: walking it takes a quarter of the time
    runs = {name: importlib.import_module(module).run for name, module in _PROCESSES.items()}
    for module in _OF_MODELS:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a walk through it would copy it, and make an answer wait
    gc.enable()
    return runs


def _fork(runs: Mapping[str, _Run], asked: socket.socket, own: Sequence[int]) -> bool:
    """Do what is asked; False: the service has gone."""
    try:
        line, descriptors, _, _ = socket.recv_fds(asked, _MOST_BYTES, 1)
    except ConnectionResetError:
        return False
    if not line:
        return False
    try:
        pid = os.fork() if descriptors else -1
    except OSError as error:
        _tell(asked, {"error": str(error)})
    else:
        if not pid:
            _become(runs, json.loads(line), descriptors[0], (asked.fileno(), *own))
        _tell(asked, {"pid": pid} if descriptors else {"error": "too many files are open"})
    for theirs in descriptors:
        os.close(theirs)
    return True


def _become(
    runs: Mapping[str, _Run], message: Mapping[str, Any], theirs: int, others: Sequence[int]
) -> NoReturn:
    """Be another process from here on."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in others:
            os.close(descriptor)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        give_large_blocks_back()
        name = str(message["process"])
        _be_called(f"everlearn-{name}")
        with (
            suppress(BrokenPipeError),  # the service has gone, before the last answer
            socket.socket(fileno=theirs) as one,
            one.makefile("rb") as messages,
            one.makefile("wb") as answers,
        ):
            runs[name](message["arguments"], messages, answers)
        code = 0
    except Exception as error:
        _LOG.error("a process of the service failed", exc_info=error)
    finally:
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)


def _be_called(name: str) -> None:
    """Have tools that list processes call this one so, in 15 characters; only Linux has the file."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def _tell_ended(asked: socket.socket) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            _tell(asked, {"pid": ended[0], "code": os.waitstatus_to_exitcode(ended[1])})


def _tell(asked: socket.socket, message: Mapping[str, int | str]) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # the service has gone, as the socket's end says
        asked.sendall(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    _main()
