"""``evaluate`` of language models and encoder-decoders: bits per byte and BLEU by domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from everlearn.errors import ConfigError, RunError
from everlearn.evaluation.text_scores import TextScores
from everlearn.learning.language import LanguageLearner, dynamic_losses
from everlearn.runtime.fold.opened_run import open_learner
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.useful_settings import check_fits_sources
from everlearn.runtime.threads import use_threads
from everlearn.stream.lines import stem_of
from everlearn.stream.open import open_source
from everlearn.stream.rejections import too_many_rejected
from everlearn.tasks.reading import read_all, source_config
from everlearn.tasks.texts.held_out import bleu_tokenizer, score_text, testable
from everlearn.types import Example, Json

__all__ = ["evaluate_texts"]


def evaluate_texts(
    run: Path,
    specs: Sequence[str],
    settings: Mapping[str, Any] | None = None,
    *,
    adapt: bool = False,
    forget_documents: bool = False,
    on_note: Callable[[str], None] = lambda _: None,
) -> dict[str, Json]:
    """Score a run on files; it is as before at the end.

    Args:
        run: The run folder.
        specs: The files. Where there are several, texts without a domain have the file's name as theirs,
            with its folder where two have one name.
        settings: Dotted settings in place of the run's, such as ``stream.text_field``.
        adapt: Dynamic evaluation: learn while reading (language models only).
        forget_documents: With ``adapt``: forget after each document.
        on_note: Is told what of the run was found damaged and passed over.

    Returns:
        ``examples, rejected, bits_per_byte, nats_per_token, tokens_per_byte, tokens, bytes, domains,
        fingerprint``, of pairs ``bleu, chrf, bleu_signature``, and ``too_many_rejected``: where more of a
        file was rejected than ``stream.max_rejected`` allows, how much, in a sentence, else None.

    Raises:
        InputError: A file cannot be read or has nothing to score.
        RunError: Not a usable run folder.
        StateError: The saved state is damaged.
        ConfigError: ``adapt`` with an encoder-decoder, or ``forget_documents`` without ``adapt``.
    """
    if forget_documents and not adapt:
        raise ConfigError("forget_documents is given, but adapt is not")
    # Files are read before the model is loaded: what is wrong with them is told at once.
    with RunFolder.open_to_read(run) as folder:
        config = folder.config.with_settings(settings or {})
        if config.task == "classify":
            raise RunError(f"{run} is a classifier's run: give one file with labels")
        reading = source_config(config.stream, task=config.task)
    if adapt and config.task != "lm":
        raise ConfigError("adapt is for language models: targets of pairs come after their predictions")
    tokenizer = bleu_tokenizer(config)
    examples: list[Example] = []
    num_rejected = 0
    too_many: str | None = None
    sources = [open_source(spec, reading) for spec in specs]
    check_fits_sources(sources, settings or {})
    for source, domain in zip(sources, _domains(specs), strict=True):
        # Read once: standard input gives what it gives one time.
        found, rejected = read_all(source)
        testable(source.name, found, rejected, tokenizer)
        num_rejected += len(rejected)
        too_many = too_many or too_many_rejected(
            source.name, len(found) + len(rejected), rejected, config.stream.max_rejected
        )
        examples += [one if one.domain is not None else replace(one, domain=domain) for one in found]
    folder, learner = open_learner(run, on_note=on_note)
    with folder:
        use_threads(config.run.threads)
    if adapt:
        assert isinstance(learner, LanguageLearner), "a run of this task has such a learner"
        scores = TextScores(max_domains=None)
        scores.update(dynamic_losses(learner, examples, forget_documents=forget_documents))
        figures = scores.summary()
    else:
        usable = [one for one in examples if tokenizer is None or one.target is not None]
        figures = score_text(learner, usable, tokenizer)
    for name in ("rolling_bits_per_byte", "rolling_bleu", "rolling_chrf"):
        figures.pop(name, None)
        for one in figures["domains"].values():
            one.pop(name, None)
    return {
        "examples": len(examples),
        "rejected": num_rejected,
        "too_many_rejected": too_many,
        **figures,
        "fingerprint": learner.fingerprint(),
    }


def _domains(specs: Sequence[str]) -> list[str | None]:
    """The domains of files without their own: their names, with as many folders as tell them apart.

    One file is no domain of anything.
    """
    if len(specs) == 1:
        return [None]
    parts = [(*Path(spec).absolute().parts[1:-1], stem_of(Path(spec))) for spec in specs]
    named: list[str | None] = []
    for index, one in enumerate(parts):
        others = [other for other in parts[:index] + parts[index + 1 :] if other != one]
        length = 1
        while length < len(one) and any(other[-length:] == one[-length:] for other in others):
            length += 1
        same = [place for place, other in enumerate(parts) if other == one]
        # Two files of one folder may differ in what follows the stem only, or be given twice.
        named.append("/".join(one[-length:]) if len(same) == 1 else specs[index])
    return named
