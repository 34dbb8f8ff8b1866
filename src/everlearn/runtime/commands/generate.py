"""``generate``: text written by a run's language model or encoder-decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from everlearn.models.language.generation import GenerationSettings, generate
from everlearn.runtime.fold.served_learner import open_learner
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.threads import use_threads
from everlearn.tasks.writing_model import WritingModel

__all__ = ["GenerateRequest", "generate_text", "open_writing_model"]


class GenerateRequest(GenerationSettings):
    """What is asked of a ``generate``."""

    prompt: str
    """The beginning of a document, a message of a chat, or a source to translate."""


def generate_text(
    run: Path,
    request: GenerateRequest,
    *,
    threads: int | None = None,
    on_text: Callable[[str], None] | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> str:
    """Generate by what a run serves; nothing is learned. The run may be in use meanwhile.

    Args:
        run: The run folder.
        request: What is asked for.
        threads: Processor threads; None: the run's setting.
        on_text: Is told each piece of text as soon as it is certain.
        on_note: Is told what of the run was found damaged and passed over, and what of the prompt left out.

    Raises:
        Everything that ``open_writing_model`` does.
        ConfigError: ``max_new_tokens`` leaves no room for a prompt in the model's length.
        InputError: The prompt is empty or cannot be rendered as a chat.
    """
    writer = open_writing_model(run, threads=threads, on_note=on_note)
    with writer.averaged:
        return generate(
            writer.model, writer.tokenizer, request.prompt, request, on_text=on_text, on_note=on_note
        )


def open_writing_model(
    run: Path,
    settings: Mapping[str, Any] | None = None,
    *,
    threads: int | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> WritingModel:
    """The model of a run of a language model or an encoder-decoder, as it is served.

    Args:
        run: The run folder.
        settings: Dotted settings in place of the run's.
        threads: Processor threads; None: the run's setting.
        on_note: Is told what of the run was found damaged and passed over.

    Raises:
        RunError: Not a usable run folder, or a classifier's.
        StateError: The saved state is damaged.
        ModelError: The run's model cannot be loaded.
    """
    with RunFolder.open_to_read(run) as folder:
        config = folder.config.with_settings(settings or {})
    folder, learner = open_learner(run, config, on_note=on_note)
    with folder:
        use_threads(folder.config.run.threads if threads is None else threads)
        return folder.task.writing_model(learner, str(run))
