"""What several test packages share."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says more of the machine, and of what else it does, than of the program.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def smollm2(pytestconfig: pytest.Config) -> Iterator[Path]:
    """Folder of SmolLM2-135M-Instruct, which "smollm2" stands for as well while the session lasts.

    It is converted into pytest's cache, which outlives the session: only the first one waits for it.
    """
    from everlearn.models.storage.gguf_folder import smollm2_folder

    assert pytestconfig.cache is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(pytestconfig.cache.mkdir("everlearn-models")))
        yield smollm2_folder()


@pytest.fixture(scope="session", autouse=True)
def _libraries_are_not_walked_again() -> Iterator[None]:
    """A run collects all garbage first, which walks every object of the libraries: once is enough."""
    import transformers  # noqa: F401

    import everlearn  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
