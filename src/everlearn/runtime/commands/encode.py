"""``encode``: a stream's texts to codes in a file, so that learning them again costs no encoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from everlearn.errors import ConfigError, InputError, StorageError
from everlearn.journal.durable_files import storage_errors
from everlearn.models.encoder.pool import ModelPool
from everlearn.runtime.commands.reading import read_batches
from everlearn.runtime.folder.rejected_file import append_rejections
from everlearn.runtime.folder.run_settings import settings_in_file, with_task
from everlearn.runtime.folder.useful_settings import check_fits_sources
from everlearn.runtime.listener import SILENT, Listener, Progress
from everlearn.runtime.threads import use_threads
from everlearn.settings import RunConfig
from everlearn.stream.files.codes import CodesSource, CodesWriter, is_codes_file
from everlearn.stream.notes import reading_notes
from everlearn.stream.open import open_source
from everlearn.stream.rejections import is_loss, share_lost
from everlearn.stream.source import Rejection
from everlearn.tasks.classification.recorded_coder import load_text_coder
from everlearn.tasks.table import task_of
from everlearn.types import Json

__all__ = ["EncodeOutcome", "encode_stream"]

_BATCH_SIZE = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeOutcome:
    """A codes file that was made.

    Attributes:
        path: The file.
        num_examples: Examples in it.
        num_rejected: Records that could not be used.
        rejected_path: Where they are listed; None where there are none.
        seconds: Time spent encoding.
        coder_fingerprint: Identifies the model and the settings.
        too_many_rejected: Where more records were rejected than ``stream.max_rejected`` allows: how many, in
            a sentence.
        notes: What was found out about the stream while it was read, in sentences.
    """

    path: Path
    num_examples: int
    num_rejected: int
    rejected_path: Path | None
    seconds: float
    coder_fingerprint: str
    too_many_rejected: str | None = None
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Json]:
        """As printed by ``encode --json``."""
        return {
            "examples": self.num_examples,
            "rejected": self.num_rejected,
            "encode_seconds": round(self.seconds, 3),
            "examples_per_second": self.num_examples / self.seconds if self.seconds else None,
            "bytes": self.path.stat().st_size,
            "coder_fingerprint": self.coder_fingerprint,
        }


def encode_stream(
    stream: str,
    out: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    config_file: Path | None = None,
    listener: Listener = SILENT,
) -> EncodeOutcome:
    """Encode every example of a stream into a codes file, which replaces one that exists.

    Args:
        stream: A file, "-" or a dataset's name.
        out: The codes file, ``.parquet``.
        settings: Settings by dotted path; those of ``model`` and ``stream`` matter.
        config_file: YAML with further settings.
        listener: Is told what happens.

    Raises:
        ConfigError: A setting is wrong, or ``out`` is no ``.parquet`` name.
        InputError: The stream cannot be read, or is codes already, or has no usable example.
        ModelError: The model cannot be loaded.
        StorageError: The file holds something else, or cannot be written; nothing is left under its name but
            what was there.
    """
    if out.suffix != ".parquet":
        raise ConfigError(
            f"a codes file is Parquet: give --out a name that ends in .parquet, not {out.name!r}"
        )
    if out.exists() and not is_codes_file(out):
        raise StorageError(f"{out} exists and holds no codes; give --out another name")
    given, in_file = settings or {}, settings_in_file(config_file)
    config = RunConfig().with_settings(with_task({**in_file, **given}, stream))
    use_threads(config.run.threads)
    source = open_source(stream, task_of(config).source_config(config.stream))
    if isinstance(source, CodesSource):
        raise InputError(f"{source.name} holds codes already")
    check_fits_sources([source], given, in_file)
    listener.stage("loading the model")
    coder = load_text_coder(config.model, ModelPool())
    listener.stage("encoding")
    rejected_path = out.with_suffix(".rejected.jsonl")
    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        rejected_path.unlink(missing_ok=True)
        num_examples = num_rejected = num_lost = 0
        first: Rejection | None = None
        with CodesWriter(
            out,
            coder_fingerprint=coder.fingerprint,
            coder_config=coder.config_json(),
            dense_size=coder.dense_size,
        ) as writer:
            for batch, bad in read_batches(source, _BATCH_SIZE):
                append_rejections(rejected_path, bad)
                num_examples += len(batch)
                num_rejected += len(bad)
                num_lost += sum(map(is_loss, bad))
                first = first or next(iter(bad), None)
                codes = coder.encode([example.text or "" for example in batch])
                kept = batch if config.run.keep_text else [replace(example, text=None) for example in batch]
                writer.write([example.with_code(code) for example, code in zip(kept, codes, strict=True)])
                listener.progress(
                    Progress(
                        examples=num_examples,
                        total=source.count(),
                        examples_per_second=num_examples / max(coder.seconds, 1e-9),
                    )
                )
            if not num_examples:
                raise InputError(f"{source.name} has no usable example ({num_rejected:,} records rejected)")
    return EncodeOutcome(
        path=out,
        num_examples=num_examples,
        num_rejected=num_rejected,
        rejected_path=rejected_path if num_rejected else None,
        seconds=coder.seconds,
        coder_fingerprint=coder.fingerprint,
        notes=reading_notes(source),
        too_many_rejected=share_lost(
            source.name, num_examples + num_rejected, num_lost, first, config.stream.max_rejected
        ),
    )
