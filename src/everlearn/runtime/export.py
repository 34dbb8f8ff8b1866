"""``export``: what a run has learned, as a model folder that transformers and peft load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from everlearn.learning.language import LanguageLearner
from everlearn.models.saving import check_folder, save_model
from everlearn.runtime.generate import open_text_learner

__all__ = ["ExportForm", "export_run"]

ExportForm = Literal["full", "adapter"]


def export_run(
    run: Path,
    folder: Path,
    form: ExportForm = "full",
    *,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    overwrite: bool = False,
    on_note: Callable[[str], None] = lambda _: None,
) -> float | None:
    """Write the model that a run serves, with its tokenizer, and make sure that it is that.

    Everything is done in float32, whatever the run computes in: the frozen part is the model's own.

    Args:
        run: The run folder; it may be in use.
        folder: Where to write.
        form: "full": the whole model, adapters merged in; "adapter": the adapter alone, in peft's format.
        dtype: Number format on disk; None: float32, which rounds nothing of what was learned.
        overwrite: Replace what is in the folder.
        on_note: Is told what of the run was found damaged and passed over.

    Returns:
        The largest difference of two logits of what was written and of the run.

    Raises:
        RunError: Not a usable run folder, or a classifier's.
        ModelError: There is no adapter, or what was written is not what the run serves.
        StorageError: The folder is not empty or cannot be written.
    """
    check_folder(folder, overwrite=overwrite)  # at once, not after the model was loaded
    learner = open_text_learner(run, {"model.dtype": "float32"}, on_note=on_note)
    is_language = isinstance(learner, LanguageLearner)
    tokenizer = learner.tokenizer if is_language else learner.seq2seq_model.tokenizer  # type: ignore[union-attr]
    with learner.training.averaged():
        return save_model(folder, learner.model, tokenizer, form=form, dtype=dtype, overwrite=overwrite)
