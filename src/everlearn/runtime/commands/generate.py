"""``generate``: text written by a run's language model or encoder-decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everlearn.models.language.generation import generate
from everlearn.runtime.fold.opened_run import open_learner
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.threads import use_threads
from everlearn.tasks.text_model import TextModel

__all__ = ["GenerateRequest", "generate_text", "open_text_model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """What is asked of a ``generate``; see ``everlearn.models.language.generation.generate``.

    Attributes:
        prompt: The beginning of a document, a message of a chat, or a source to translate.
        max_new_tokens: Most tokens that are generated.
        temperature: 0: the most probable token at each step.
        top_p: Share of the probability that tokens are drawn from.
        num_beams: Width of the beam search; 1: none.
        seed: Of the draws.
        chat: Answer the prompt as the assistant of a chat.
        stop: Texts that end what is written.
    """

    prompt: str
    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    num_beams: int = 1
    seed: int = 0
    chat: bool = False
    stop: tuple[str, ...] = ()


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
        RunError: Not a usable run folder, or a classifier's.
        StateError: The saved state is damaged.
        ModelError: The run's model cannot be loaded.
        ConfigError: A setting is out of range.
        InputError: The prompt is empty or cannot be rendered as a chat.
    """
    writer = open_text_model(run, threads=threads, on_note=on_note)
    with writer.averaged:
        return generate(
            writer.model,
            writer.tokenizer,
            request.prompt,
            max_new_tokens=request.max_new_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            num_beams=request.num_beams,
            seed=request.seed,
            chat=request.chat,
            stop=request.stop,
            on_text=on_text,
            on_note=on_note,
        )


def open_text_model(
    run: Path,
    settings: Mapping[str, Any] | None = None,
    *,
    threads: int | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> TextModel:
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
        return folder.task.text_model(learner, str(run))
