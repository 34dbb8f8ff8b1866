"""``everlearn generate``."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from everlearn.cli import options
from everlearn.cli.examples import examples
from everlearn.cli.failures import print_note
from everlearn.cli.setting_options import given_in, taking
from everlearn.cli.tables import print_json
from everlearn.errors import InputError
from everlearn.settings.generation import WritingSettings

__all__ = ["generate"]


@examples(
    'everlearn generate runs/novel --prompt "Call me" --stream',
    'everlearn generate runs/help --prompt "How do I reset it?" --chat --temperature 0.7',
    'everlearn generate runs/captions --prompt "A dog runs over the grass." --beams 4',
)
@taking("threads", own=WritingSettings)
def generate(
    run: options.RunPath,
    prompt: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="Beginning of a document, message of a chat, source to translate; - for standard input.",
            show_default=False,
        ),
    ],
    stream: Annotated[bool, typer.Option("--stream", help="Show the text while it is written.")] = False,
    chat: Annotated[bool, typer.Option("--chat", help="Answer as the assistant of a chat.")] = False,
    json_output: options.Json = False,
    **settings: Any,
) -> None:
    """Write text by what a run has learned; nothing is learned. A run may be in use meanwhile."""
    from everlearn.runtime.commands.generate import GenerateRequest, generate_text

    text = _piped_text() if prompt == "-" else prompt
    request = GenerateRequest(prompt=text, chat=chat, **given_in(WritingSettings, settings))
    is_shown = stream and not json_output
    written = generate_text(
        run, request, threads=settings["threads"], on_text=_show if is_shown else None, on_note=print_note
    )
    if json_output:
        print_json({"prompt": text, "text": written})
    else:
        print("" if is_shown else written, flush=True)


def _piped_text() -> str:
    """Standard input, in UTF-8 whatever the locale's encoding is."""
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8: byte {error.start + 1}") from None


def _show(text: str) -> None:
    print(text, end="", flush=True)
