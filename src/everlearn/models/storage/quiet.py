"""How transformers is made to load: nothing is printed, and whatever it raises is one kind of error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from everlearn.errors import ModelError

__all__ = ["loading", "quiet_transformers"]


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep progress bars and load reports out of the terminal; what matters is raised as an error."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging  # its functions have no annotations

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def loading(failure: str) -> Iterator[None]:
    """Load quietly within the block.

    Args:
        failure: How the message begins where that fails.

    Raises:
        ModelError: It failed; transformers raises whatever its file readers raise.
    """
    try:
        with quiet_transformers():
            yield
    except ModelError:
        raise
    except Exception as error:
        first_line = str(error).strip().splitlines()[:1] or [""]
        raise ModelError(f"{failure}: {type(error).__name__}: {first_line[0]}") from error
