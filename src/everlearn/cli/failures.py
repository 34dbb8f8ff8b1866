"""How commands end when they fail: one message on standard error, an exit code, no traceback."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shlex
import sys
from collections.abc import Callable
from typing import ParamSpec

import typer
from rich.console import Console

from everlearn.cli.option_names import in_option_names, options_of
from everlearn.errors import ConfigError, ConfigFileError, EverlearnError, StoppedError, StorageError

__all__ = ["STOPPED_EXIT_CODE", "print_error", "print_note", "reported"]

STOPPED_EXIT_CODE = StoppedError.exit_code
# Of files that everlearn writes, full disks are told where that happens.
_OUTPUT_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)

show_traceback = False
"""Set by ``everlearn --debug``."""

_Parameters = ParamSpec("_Parameters")


def reported(command: Callable[_Parameters, None]) -> Callable[_Parameters, None]:
    """The command, with its errors told and turned into exit codes."""

    @functools.wraps(command)
    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except StoppedError as stopped:
            print_note(str(stopped))
            raise typer.Exit(stopped.exit_code) from None
        except EverlearnError as error:
            if show_traceback:
                raise
            is_of_options = isinstance(error, ConfigError) and not isinstance(error, ConfigFileError)
            told = in_option_names(str(error), options_of(command)) if is_of_options else str(error)
            print_error(told)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            print_note("Stopped. What was saved before is intact.")
            raise typer.Exit(STOPPED_EXIT_CODE) from None
        except BrokenPipeError:
            # The reader of a pipe (head, say) has seen enough.
            _drop_output()
            raise typer.Exit(0) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if show_traceback:
                raise
            if isinstance(error, OSError) and error.errno in _OUTPUT_ERRNOS:
                _drop_output()
                print_error(f"cannot write the output: {error.strerror}")
                raise typer.Exit(StorageError.exit_code) from None
            if isinstance(error, PermissionError) and error.filename is not None:
                print_error(f"{error.filename}: {error.strerror}; this user lacks the right to it")
                raise typer.Exit(StorageError.exit_code) from None
            print_error(
                f"unexpected {type(error).__name__}: {str(error) or 'no message'}. This is a fault in "
                f"everlearn; please report it with what this prints: "
                f"everlearn --debug {shlex.join(sys.argv[1:])}"
            )
            raise typer.Exit(1) from None

    return run


def _drop_output() -> None:
    """Let what is still unwritten go nowhere, or the interpreter fails at it at exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error(message: str) -> None:
    """Print to standard error, marked as an error."""
    _print("[bold red]error:[/] ", message)


def print_note(*messages: str) -> None:
    """Print to standard error."""
    for message in messages:
        _print("", message)


def _print(mark: str, message: str) -> None:
    from rich.markup import escape

    Console(stderr=True, highlight=False, soft_wrap=True).print(mark + escape(message))
