"""The options that commands share, each with its unit and default, and the settings they stand for.

Every option defaults to None, "not given", so that a run which is continued keeps its settings.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from everlearn.cli import text_options

__all__ = [
    "SETTING_OF",
    "BatchInvariant",
    "BatchSize",
    "CheckpointSeconds",
    "Clip",
    "ConfigFile",
    "Delay",
    "Device",
    "DomainField",
    "Dtype",
    "EncoderModel",
    "Experiences",
    "Guard",
    "GuardEvery",
    "GuardLevel",
    "GuardSeconds",
    "GuardShare",
    "GuardTolerance",
    "HeadLearningRate",
    "IdField",
    "Json",
    "KeepText",
    "LearnerKind",
    "LearningRate",
    "LoraRank",
    "MaxClasses",
    "MaxLength",
    "MaxRecordBytes",
    "MaxRejected",
    "MemoryBudget",
    "Model",
    "NumFeatures",
    "Optimizer",
    "Order",
    "Replay",
    "RunPath",
    "Schedule",
    "Seed",
    "Strict",
    "Suspicious",
    "TargetField",
    "TextDays",
    "TextField",
    "Threads",
    "TimeField",
    "TotalSteps",
    "Train",
    "WarmupSteps",
    "Windows",
    "command_again",
    "given_settings",
    "parse_size",
]

_STREAM, _MODEL, _LEARNER = "Stream", "Model", "Learner"
_GRADIENT, _GUARD, _RUN = "Gradient learner", "Guard", "Run"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}

SETTING_OF = {
    "seed": "seed",
    "model": "model.name",
    "max_length": "model.max_length",
    "windows": "model.windows",
    "dtype": "model.dtype",
    "device": "model.device",
    "batch_invariant": "model.batch_invariant",
    "text_field": "stream.text_field",
    "target_field": "stream.target_field",
    "id_field": "stream.id_field",
    "domain_field": "stream.domain_field",
    "time_field": "stream.time_field",
    "strict": "stream.strict",
    "max_record_bytes": "stream.max_record_bytes",
    "max_rejected": "stream.max_rejected",
    "encoding": "stream.encoding",
    "delimiter": "stream.delimiter",
    "order": "stream.order",
    "experiences": "stream.experiences",
    "batch_size": "stream.batch_size",
    "delay": "stream.delay",
    "learner": "learner.kind",
    "memory_budget": "learner.memory_budget",
    "features": "learner.closed_form.num_features",
    "max_classes": "learner.closed_form.max_classes",
    "optimizer": "learner.gradient.optimizer",
    "learning_rate": "learner.gradient.learning_rate",
    "head_learning_rate": "learner.gradient.head_learning_rate",
    "schedule": "learner.gradient.schedule",
    "warmup_steps": "learner.gradient.warmup_steps",
    "total_steps": "learner.gradient.total_steps",
    "clip": "learner.gradient.max_gradient_norm",
    "train": "learner.gradient.trainable",
    "lora_rank": "learner.gradient.lora_rank",
    "replay": "learner.gradient.replay",
    "guard": "guard.enabled",
    "guard_share": "guard.share",
    "guard_every": "guard.every",
    "guard_seconds": "guard.seconds",
    "guard_tolerance": "guard.tolerance",
    "guard_level": "guard.level",
    "suspicious": "guard.suspicious",
    "checkpoint_seconds": "run.checkpoint_seconds",
    "keep_text": "run.keep_text",
    "text_days": "run.text_days",
    "threads": "run.threads",
    **text_options.SETTING_OF,
}
"""The setting that each option stands for."""


def given_settings(context: typer.Context) -> dict[str, Any]:
    """The settings that were given on the command line, by dotted path."""
    given = {
        SETTING_OF[name]: value
        for name, value in context.params.items()
        if name in SETTING_OF and value is not None and not _is_empty(value)
    }
    if "learner.gradient.methods" in given:
        given["learner.gradient.methods"] = {name: {} for name in given["learner.gradient.methods"]}
    if "learner.closed_form.max_classes" in given:
        given["learner.gradient.max_classes"] = given["learner.closed_form.max_classes"]
    return given


def _is_empty(value: Any) -> bool:
    """Whether an option that can be given several times was not given."""
    return isinstance(value, list | tuple) and not value


def command_again(context: typer.Context, **changed: str) -> str:
    """The command line that was given, with these parameters in place of its own."""
    words = ["everlearn", str(context.info_name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        value = changed.get(name, context.params.get(name))
        if name not in changed and (source is None or source.name != "COMMANDLINE"):
            continue
        if parameter.param_type_name == "argument":
            words.append(str(value))
        elif isinstance(value, list | tuple):
            words += [word for one in value for word in (parameter.opts[0], str(one))]
        elif isinstance(value, bool):
            words.append(parameter.opts[0] if value else parameter.secondary_opts[0])
        else:
            words += [parameter.opts[0], str(value)]
    return shlex.join(words)


def parse_size(text: str | int) -> int:
    """Bytes from a number with a unit.

    >>> parse_size("512MB"), parse_size("1.5 GiB"), parse_size("4096")
    (512000000, 1610612736, 4096)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]I?)?B?\s*", str(text).upper())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no size; write 512MB, 2GiB or a number of bytes")
    return int(float(match[1]) * _UNITS[match[2] or ""])


def parse_delimiter(text: str) -> str:
    """One character, or "tab" for a tab.

    >>> parse_delimiter(";"), parse_delimiter("tab"), parse_delimiter("\\\\t")
    (';', '\\t', '\\t')
    """
    text = "\t" if text in ("tab", "\\t") else text
    if len(text) != 1:
        raise typer.BadParameter(f"{text!r} is not one character; write for example ';', or tab for a tab")
    return text


RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run folder made by [cyan]learn[/].", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.yaml",
        help="Settings as YAML; options given here win. The settings of a run are in its run.json. "
        "Default: none.",
        rich_help_panel=_RUN,
    ),
]
TextField = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Field with the text. Default: text; of pairs text or source.",
        rich_help_panel=_STREAM,
    ),
]
TargetField = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Field with the label or target text. Default: the first of target, label, intent, category.",
        rich_help_panel=_STREAM,
    ),
]
IdField = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Field with a unique id. Default: id, else file name and line number.",
        rich_help_panel=_STREAM,
    ),
]
DomainField = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Field that says where an example is from. Default: domain.",
        rich_help_panel=_STREAM,
    ),
]
TimeField = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Field with an ISO 8601 time. Default: the first of time, date, timestamp.",
        rich_help_panel=_STREAM,
    ),
]
Strict = Annotated[
    bool | None,
    typer.Option(
        "--strict/--no-strict",
        help="Stop at the first record that cannot be used, else list it in rejected.jsonl. Default: no.",
        show_default=False,
        rich_help_panel=_STREAM,
    ),
]
MaxRecordBytes = Annotated[
    int | None,
    typer.Option(
        metavar="SIZE",
        parser=parse_size,
        help="Longer records are rejected unread. Default: 1MB.",
        rich_help_panel=_STREAM,
    ),
]
MaxRejected = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Where a greater share of the records (of 10 or more) is rejected, exit with code 3 at the end; "
        "what the others gave is kept. Repeated ids do not count. Default: 0.5.",
        rich_help_panel=_STREAM,
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="How text files are encoded, for example cp1252 or utf-16. Default: utf-8, or what a byte order "
        "mark says.",
        rich_help_panel=_STREAM,
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        metavar="CHARACTER",
        parser=parse_delimiter,
        help="Between the cells of a CSV file; tab for a tab. Default: a comma, or what the header has "
        "instead of commas.",
        rich_help_panel=_STREAM,
    ),
]
Order = Annotated[
    str | None,
    typer.Option(
        metavar="ORDER",
        help="as-is, shuffled, by-class, by-domain or by-time; all but as-is read the whole stream first. "
        "Default: as-is.",
        rich_help_panel=_STREAM,
    ),
]
Experiences = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Cut the stream in N experiences and (with --test) measure accuracy after each; texts are "
        "measured with --order by-domain, where each domain is one. Default: 1.",
        rich_help_panel=_STREAM,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Examples predicted, then learned, in one step. Default: 256; gradient learner: 32; language "
        "models: 4 documents, or pieces of 16 KB.",
        rich_help_panel=_STREAM,
    ),
]
Delay = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Targets arrive N examples after their texts. Default: 0.", rich_help_panel=_STREAM
    ),
]

Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Encoder, language model or encoder-decoder: minilm, smollm2, a local folder, package:NAME, or "
        "a name on the Hugging Face hub. Default: minilm; --task lm: smollm2; --task seq2seq: none.",
        rich_help_panel=_MODEL,
    ),
]
MaxLength = Annotated[
    int | None,
    typer.Option(metavar="TOKENS", help="Longer texts are cut. Default: 256.", rich_help_panel=_MODEL),
]
Windows = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Read up to N windows of --max-length tokens of a long text and average them. Default: 1.",
        rich_help_panel=_MODEL,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE",
        help="auto, float32 or bfloat16. Default: auto (bfloat16 where the processor is fast at it).",
        rich_help_panel=_MODEL,
    ),
]
Device = Annotated[
    str | None, typer.Option(metavar="NAME", help="auto, cpu or cuda. Default: auto.", rich_help_panel=_MODEL)
]
EncoderModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="Encoder: minilm, a local folder, package:NAME, or a name on the Hugging Face hub. "
        "Default: minilm.",
        rich_help_panel=_MODEL,
    ),
]
BatchInvariant = Annotated[
    bool | None,
    typer.Option(
        "--batch-invariant/--no-batch-invariant",
        help="Encode each text to the same bits whatever is beside it; slower. Default: no.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]

LearnerKind = Annotated[
    str | None,
    typer.Option(
        "--learner",
        metavar="KIND",
        help="Of labels: closed-form (exact, no forgetting) or gradient. Default: closed-form.",
        rich_help_panel=_LEARNER,
    ),
]
MemoryBudget = Annotated[
    int | None,
    typer.Option(
        metavar="SIZE",
        parser=parse_size,
        help="Choose the closed-form learner's sizes to fit in SIZE, such as 512MB; without the encoder. "
        "Default: none, the sizes are chosen one by one.",
        rich_help_panel=_LEARNER,
    ),
]
NumFeatures = Annotated[
    int | None,
    typer.Option(
        "--features",
        metavar="M",
        help="Features of the closed-form head; its statistics take about 4·M² bytes. Default: 4096.",
        rich_help_panel=_LEARNER,
    ),
]
MaxClasses = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Records with a label beyond so many are rejected; may be changed later. Default: 10000.",
        rich_help_panel=_LEARNER,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(metavar="N", help="Seed of everything random. Default: 0.", rich_help_panel=_LEARNER),
]

Optimizer = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="sgd, momentum, adagrad or adamw. Default: adamw.", rich_help_panel=_GRADIENT
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        metavar="RATE",
        help="Peak rate below the head; may be changed later, for what is learned then. "
        "Default: chosen for the optimizer (adamw: 4e-5; LoRA: 2e-4).",
        rich_help_panel=_GRADIENT,
    ),
]
HeadLearningRate = Annotated[
    float | None,
    typer.Option(
        metavar="RATE",
        help="Peak rate of the head. Default: chosen for the optimizer (adamw: 2e-3).",
        rich_help_panel=_GRADIENT,
    ),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="constant, linear, cosine or inverse-sqrt. Default: constant.",
        rich_help_panel=_GRADIENT,
    ),
]
WarmupSteps = Annotated[
    int | None,
    typer.Option(
        metavar="STEPS", help="Steps in which the rate rises. Default: 20.", rich_help_panel=_GRADIENT
    ),
]
TotalSteps = Annotated[
    int | None,
    typer.Option(
        metavar="STEPS",
        help="Where linear and cosine end; needed by them. Default: none.",
        rich_help_panel=_GRADIENT,
    ),
]
Clip = Annotated[
    float | None,
    typer.Option(
        metavar="NORM",
        help="Scale gradients down to this norm; 0: never. Default: 1.",
        rich_help_panel=_GRADIENT,
    ),
]
Train = Annotated[
    str | None,
    typer.Option(
        metavar="PART",
        help="all, head, embeddings, encoder, decoder, layers:K-N, lora or lora:K-N (need the extra lora). "
        "Default: all; language models: lora.",
        rich_help_panel=_GRADIENT,
    ),
]
LoraRank = Annotated[
    int | None, typer.Option(metavar="R", help="Rank of LoRA updates. Default: 8.", rich_help_panel=_GRADIENT)
]
Replay = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Examples (of language models: pieces of up to a chunk) kept for experience replay, in up to "
        "900 bytes and 4 a token each; 0: none. Default: 0.",
        rich_help_panel=_GRADIENT,
    ),
]

Guard = Annotated[
    bool | None,
    typer.Option(
        "--guard/--no-guard",
        help="Serve a version only if it is not worse than the one before: hold back a share of the stream, "
        "examine candidates on it, set aside what makes them worse. Default: no.",
        show_default=False,
        rich_help_panel=_GUARD,
    ),
]
GuardShare = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", help="Share of the stream that is held back. Default: 0.05.", rich_help_panel=_GUARD
    ),
]
GuardEvery = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Examples between two candidates. Default: 10000; language models: 1000.",
        rich_help_panel=_GUARD,
    ),
]
GuardSeconds = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Examine a candidate after so many seconds too. Default: never.",
        rich_help_panel=_GUARD,
    ),
]
GuardTolerance = Annotated[
    float | None,
    typer.Option(
        metavar="DROP",
        help="Drop in accuracy (0.01: one point) not held against a candidate. Default: 0. Of texts: "
        "relative rise of the loss; default: 0.02.",
        rich_help_panel=_GUARD,
    ),
]
GuardLevel = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        help="Reject where a drop like the candidate's is less probable by chance than P. Default: 0.01.",
        rich_help_panel=_GUARD,
    ),
]
Suspicious = Annotated[
    str | None,
    typer.Option(
        metavar="POLICY",
        help="Examples that contradict a confident prediction: flag them, weigh them (learn a quarter), hold "
        "them for review, or off. Default: flag.",
        rich_help_panel=_GUARD,
    ),
]

CheckpointSeconds = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Save at least this often; 0: after every batch. Default: 60.",
        rich_help_panel=_RUN,
    ),
]
KeepText = Annotated[
    bool | None,
    typer.Option(
        "--keep-text/--no-keep-text",
        help="Keep the texts beside their codes, and how refused records with an id begin (those that cannot "
        "be read are listed with their beginning in any case). A learner without codes drops texts at its "
        "next save where it is to keep none, but for those that a guard examines on. Default: no; learners "
        "without codes: yes.",
        show_default=False,
        rich_help_panel=_RUN,
    ),
]
TextDays = Annotated[
    float | None,
    typer.Option(
        metavar="DAYS",
        help="Drop kept texts after so many days, with fields that repeat them, targets that are texts and "
        "excerpts; codes, labels and other fields stay, what replay holds, and what a guard examines a "
        "learner without codes on. Default: never.",
        rich_help_panel=_RUN,
    ),
]
Threads = Annotated[
    int | None, typer.Option(metavar="N", help="Processor threads. Default: all cores.", rich_help_panel=_RUN)
]
