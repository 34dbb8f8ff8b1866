"""``everlearn learn``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from everlearn.cli import options, text_options
from everlearn.cli.collector import passed_over_objects
from everlearn.cli.display import ProgressDisplay
from everlearn.cli.failures import STOPPED_EXIT_CODE, print_error, print_note
from everlearn.cli.tables import print_json, print_table, summary_rows
from everlearn.errors import InputError

__all__ = ["learn"]

EPILOG = """
[bold]Examples[/bold]

  [cyan]everlearn learn messages.jsonl --out runs/desk[/]  (again: goes on where it stopped)

  [cyan]everlearn learn train.csv --text-field body --target-field topic --test test.csv[/]

  [cyan]everlearn learn train.jsonl.gz --order by-class --experiences 10 --test test.jsonl.gz --json[/]

  [cyan]tail -f live.jsonl | everlearn learn - --out runs/live --batch-size 32[/]

  [cyan]everlearn learn train.jsonl --learner gradient --train lora --replay 1500[/]

  [cyan]everlearn learn messages.jsonl --out runs/desk --guard --guard-every 2000[/]

  [cyan]everlearn learn corpus.txt --task lm --out runs/novel --replay 2000[/]

  [cyan]everlearn learn poems.txt --task lm --out runs/poems --grow-vocabulary 250[/]

  [cyan]everlearn learn pairs.jsonl --task seq2seq --model models/en-de --out runs/captions[/]
"""


def learn(
    context: typer.Context,
    stream: Annotated[
        str,
        typer.Argument(
            metavar="STREAM",
            help="JSON lines, CSV, TSV, text (also .gz, .zst), Parquet, Arrow, a codes file, "
            "hf:NAME[:SPLIT], or - for standard input.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Run folder. One that exists is continued. Default: a new one in runs/."
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Held-out examples with targets; never learned. Default: none."),
    ] = None,
    general: text_options.General = None,
    task: text_options.Task = None,
    json_output: options.Json = False,
    text_field: options.TextField = None,
    target_field: options.TargetField = None,
    id_field: options.IdField = None,
    domain_field: options.DomainField = None,
    time_field: options.TimeField = None,
    order: options.Order = None,
    experiences: options.Experiences = None,
    batch_size: options.BatchSize = None,
    delay: options.Delay = None,
    strict: options.Strict = None,
    max_record_bytes: options.MaxRecordBytes = None,
    max_rejected: options.MaxRejected = None,
    encoding: options.Encoding = None,
    delimiter: options.Delimiter = None,
    model: options.Model = None,
    max_length: options.MaxLength = None,
    windows: options.Windows = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    batch_invariant: options.BatchInvariant = None,
    learner: options.LearnerKind = None,
    memory_budget: options.MemoryBudget = None,
    features: options.NumFeatures = None,
    max_classes: options.MaxClasses = None,
    seed: options.Seed = None,
    optimizer: options.Optimizer = None,
    learning_rate: options.LearningRate = None,
    head_learning_rate: options.HeadLearningRate = None,
    schedule: options.Schedule = None,
    warmup_steps: options.WarmupSteps = None,
    total_steps: options.TotalSteps = None,
    clip: options.Clip = None,
    train: options.Train = None,
    lora_rank: options.LoraRank = None,
    replay: options.Replay = None,
    replay_share: text_options.ReplayShare = None,
    method: text_options.Methods = None,
    average_decay: text_options.AverageDecay = None,
    spike_deviations: text_options.SpikeDeviations = None,
    documents: text_options.Documents = None,
    lanes: text_options.Lanes = None,
    chunk_length: text_options.ChunkLength = None,
    tokens_per_step: text_options.TokensPerStep = None,
    carry: text_options.Carry = None,
    window: text_options.Window = None,
    sinks: text_options.Sinks = None,
    gradient_chunks: text_options.GradientChunks = None,
    gradient_checkpointing: text_options.GradientCheckpointing = None,
    grow_vocabulary: text_options.GrowVocabulary = None,
    max_source_length: text_options.MaxSourceLength = None,
    max_target_length: text_options.MaxTargetLength = None,
    source_language: text_options.SourceLanguage = None,
    target_language: text_options.TargetLanguage = None,
    beams: text_options.Beams = None,
    bleu_tokenizer: text_options.BleuTokenizer = None,
    guard: options.Guard = None,
    guard_share: options.GuardShare = None,
    guard_every: options.GuardEvery = None,
    guard_seconds: options.GuardSeconds = None,
    guard_tolerance: options.GuardTolerance = None,
    guard_level: options.GuardLevel = None,
    suspicious: options.Suspicious = None,
    config: options.ConfigFile = None,
    checkpoint_seconds: options.CheckpointSeconds = None,
    keep_text: options.KeepText = None,
    text_days: options.TextDays = None,
    threads: options.Threads = None,
) -> None:
    """Predict and learn a stream, batch by batch, and save a run folder with a report.

    Each batch is predicted before it is learned, so the scores shown are honest. Ctrl-C finishes the
    batch and saves; the same command goes on.
    """
    from everlearn.runtime.commands.learn import LearnRequest, learn_stream
    from everlearn.runtime.interruption import stop_on_signals

    request = LearnRequest(
        stream=stream,
        out=out,
        settings=options.given_settings(context),
        config_file=config,
        test=test,
        general=general,
    )
    with (
        ProgressDisplay() as display,
        stop_on_signals(display.stopping) as stop,
        passed_over_objects() as pass_over,
    ):
        outcome = learn_stream(request, listener=display, stop=stop, on_ready=pass_over)
    for note in outcome.notes:
        print_note(note)
    if json_output:
        print_json(outcome.summary | {"run": str(outcome.folder), "interrupted": outcome.interrupted})
    else:
        print_table([*summary_rows(outcome.summary), ("report", str(outcome.folder / "report.html"))])
    if outcome.interrupted:
        saved = f"Stopped. Everything up to here is saved in {outcome.folder}."
        again = options.command_again(context, out=str(outcome.folder))
        piped = " What is piped counts as new text: pipe what was not read yet." if stream == "-" else ""
        print_note(f"{saved} Go on with: {again}{piped}")
        raise typer.Exit(STOPPED_EXIT_CODE)
    if outcome.loss is not None:
        print_error(outcome.loss)
        raise typer.Exit(InputError.exit_code)


learn.epilog = EPILOG  # type: ignore[attr-defined]
