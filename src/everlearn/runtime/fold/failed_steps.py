"""What went wrong when a journaled step was made, and whose fault that can be."""

from __future__ import annotations

import torch

from everlearn.errors import (
    ConfigError,
    EverlearnError,
    MissingExtraError,
    RunError,
    StateError,
    StorageError,
)

__all__ = ["UnmadeStepError", "is_out_of_memory", "may_be_of_an_example", "out_of_memory"]

_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")
_OF_THE_RUN = (ConfigError, MissingExtraError, RunError, StateError, StorageError, OSError)


class UnmadeStepError(StateError):
    """A step of the journal cannot be made; the error it was raised from says why."""

    def __init__(self, step: int, error: Exception) -> None:
        super().__init__(
            f"step {step:,} of the journal cannot be made again: {type(error).__name__}: {error}"
        )
        self.step = step
        self.error = error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, that of the processor or of an accelerator."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _OUT_OF_MEMORY)


def may_be_of_an_example(error: BaseException) -> bool:
    """Whether an example can be why a step failed, rather than the machine, the settings or the run."""
    return not (is_out_of_memory(error) or isinstance(error, _OF_THE_RUN))


def out_of_memory(error: BaseException, place: str) -> EverlearnError:
    """What to tell of it in a run folder: nothing was learned of the step, and what helps there."""
    detail = str(error).splitlines()[0] if str(error) else type(error).__name__
    return RunError(
        f"memory ran out while a batch was learned ({detail}). Nothing of that batch counts, everything "
        f"before it is kept: {place} opens as before, and its stream goes on with that batch. Give a smaller "
        "--batch-size, fewer --threads or another --device, or free memory, then run the same command again"
    )
