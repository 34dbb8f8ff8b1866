"""The options of language models and encoder-decoders, and the settings they stand for."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "SETTING_OF",
    "AverageDecay",
    "Beams",
    "BleuTokenizer",
    "Carry",
    "ChunkLength",
    "Documents",
    "General",
    "GradientCheckpointing",
    "GradientChunks",
    "GrowVocabulary",
    "Lanes",
    "MaxSourceLength",
    "MaxTargetLength",
    "Methods",
    "ReplayShare",
    "Sinks",
    "SourceLanguage",
    "SpikeDeviations",
    "TargetLanguage",
    "Task",
    "TokensPerStep",
    "Window",
]

_STREAM, _GRADIENT = "Stream", "Gradient learner"
_LANGUAGE, _TRANSLATION = "Language model (--task lm)", "Encoder-decoder (--task seq2seq)"

SETTING_OF = {
    "task": "task",
    "documents": "stream.documents",
    "lanes": "learner.language.lanes",
    "chunk_length": "learner.language.chunk_length",
    "tokens_per_step": "learner.language.tokens_per_step",
    "carry": "learner.language.carry",
    "window": "learner.language.window",
    "sinks": "learner.language.sinks",
    "gradient_chunks": "learner.language.gradient_chunks",
    "gradient_checkpointing": "learner.language.gradient_checkpointing",
    "grow_vocabulary": "learner.vocabulary.words",
    "max_source_length": "learner.translation.max_source_length",
    "max_target_length": "learner.translation.max_target_length",
    "source_language": "learner.translation.source_language",
    "target_language": "learner.translation.target_language",
    "beams": "learner.translation.beams",
    "bleu_tokenizer": "learner.translation.bleu_tokenizer",
    "replay_share": "learner.gradient.replay_share",
    "method": "learner.gradient.methods",
    "average_decay": "learner.gradient.average_decay",
    "spike_deviations": "learner.gradient.spike_deviations",
}

Task = Annotated[
    str | None,
    typer.Option(
        metavar="TASK",
        help="classify: labels for texts; lm: the next token of documents; seq2seq: a text for a text "
        "(translation). Default: classify.",
    ),
]
General = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Other text (or pairs), never learned: the summary says how well the model knew it before the "
        "run and how well it does now, so that forgetting shows. "
        "Default: none.",
        rich_help_panel=_LANGUAGE,
    ),
]
Documents = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        help="What a document is in plain text: blank-lines (between blank lines), file (all of it), lines. "
        "Default: blank-lines.",
        rich_help_panel=_LANGUAGE,
    ),
]
Lanes = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Documents that are read side by side. Default: 4.", rich_help_panel=_LANGUAGE
    ),
]
ChunkLength = Annotated[
    int | None,
    typer.Option(
        metavar="TOKENS",
        help="Tokens of a document that are read at once. Default: 256, or half of the model's trained "
        "length.",
        rich_help_panel=_LANGUAGE,
    ),
]
TokensPerStep = Annotated[
    int | None,
    typer.Option(
        metavar="TOKENS",
        help="Fresh tokens of an optimizer step; more than a chunk of each lane: gradients are accumulated. "
        "Default: 1024.",
        rich_help_panel=_LANGUAGE,
    ),
]
Carry = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        help="What is carried from chunk to chunk: attention (keys and values), recurrent (state), none. "
        "Default: by the model.",
        rich_help_panel=_LANGUAGE,
    ),
]
Window = Annotated[
    int | None,
    typer.Option(
        metavar="TOKENS",
        help="Tokens before a chunk that it can attend to; 0: all of the document's. Default: 2048, or what "
        "the model's trained length has room for.",
        rich_help_panel=_LANGUAGE,
    ),
]
Sinks = Annotated[
    int | None,
    typer.Option(
        metavar="TOKENS",
        help="First tokens of a document that every chunk can attend to. Default: 4.",
        rich_help_panel=_LANGUAGE,
    ),
]
GradientChunks = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Earlier chunks that gradients flow into. Default: 0, the context is detached.",
        rich_help_panel=_LANGUAGE,
    ),
]
GradientCheckpointing = Annotated[
    bool | None,
    typer.Option(
        "--gradient-checkpointing/--no-gradient-checkpointing",
        help="Less memory for a third more time. Default: no.",
        show_default=False,
        rich_help_panel=_LANGUAGE,
    ),
]
GrowVocabulary = Annotated[
    int | None,
    typer.Option(
        metavar="WORDS",
        help="Watch the first 40,000 bytes of text, then add up to so many words that are frequent there as "
        "tokens of their own (a few hundred are a good start): text of a field or language that the model's "
        "tokens were not made for takes fewer of them, and is learned and written faster. In a "
        "--config file, learner.vocabulary also has watch_bytes, min_count, row_learning_rate, alone_steps "
        "and row_passes. Default: 0, never.",
        rich_help_panel=_LANGUAGE,
    ),
]
MaxSourceLength = Annotated[
    int | None,
    typer.Option(
        metavar="TOKENS",
        help="Tokens of a source that are read. Default: what the model takes.",
        rich_help_panel=_TRANSLATION,
    ),
]
MaxTargetLength = Annotated[
    int | None,
    typer.Option(
        metavar="TOKENS",
        help="Tokens of a target, learned or written. Default: as many as the model takes; written are at "
        "most twice the source's and 16 more.",
        rich_help_panel=_TRANSLATION,
    ),
]
SourceLanguage = Annotated[
    str | None,
    typer.Option(
        metavar="CODE",
        help="Language of the sources, as the model's tokenizer calls it (en_XX, eng_Latn, en …). Default: "
        "what the tokenizer was saved with; needed where it marks languages and was saved without one.",
        rich_help_panel=_TRANSLATION,
    ),
]
TargetLanguage = Annotated[
    str | None,
    typer.Option(
        metavar="CODE",
        help="The same of the targets. Default: as of the sources.",
        rich_help_panel=_TRANSLATION,
    ),
]
Beams = Annotated[
    int | None,
    typer.Option(metavar="N", help="Width of the beam search. Default: 1.", rich_help_panel=_TRANSLATION),
]
BleuTokenizer = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="sacrebleu's tokenizer for BLEU: 13a, zh, char … Default: 13a.",
        rich_help_panel=_TRANSLATION,
    ),
]
ReplayShare = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Replayed tokens to each fresh one. Default: 0.5 for language models.",
        rich_help_panel=_GRADIENT,
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Another continual-learning method with its default settings (distillation, orthogonal, "
        "anchor …); can be given several times. Default: none.",
        rich_help_panel=_GRADIENT,
    ),
]
AverageDecay = Annotated[
    float | None,
    typer.Option(
        metavar="DECAY",
        help="Predict with an average of the weights that decays so much a step (0.99). Default: none.",
        rich_help_panel=_GRADIENT,
    ),
]
SpikeDeviations = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        help="Leave out a step whose loss is so many standard deviations above the usual. Default: never.",
        rich_help_panel=_GRADIENT,
    ),
]
