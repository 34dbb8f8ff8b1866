"""``export``: what a run has learned, as a model folder that transformers and peft load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from everlearn.errors import RunError
from everlearn.models.storage.saving import check_folder, save_model
from everlearn.runtime.commands.generate import open_writing_model
from everlearn.runtime.folder.run_folder import RunFolder, is_run_folder

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
        overwrite: Replace the model that is in the folder.
        on_note: Is told what of the run was found damaged and passed over.

    Returns:
        The largest difference of two logits of what was written and of the run.

    Raises:
        RunError: Not a usable run folder, or a classifier's; or the folder is, holds or lies in the run or
            its model, or is another run.
        ModelError: There is no adapter, or what was written is not what the run serves.
        StorageError: The folder is not empty or cannot be written.
    """
    _check_apart(run, folder)  # at once, not after the model was loaded
    check_folder(folder, overwrite=overwrite)
    writer = open_writing_model(run, {"model.dtype": "float32"}, on_note=on_note)
    with writer.averaged:
        return save_model(folder, writer.model, writer.tokenizer, form=form, dtype=dtype, overwrite=overwrite)


def _check_apart(run: Path, folder: Path) -> None:
    target = folder.resolve()
    if is_run_folder(target):
        raise RunError(f"{folder} is a run; give a folder for the model alone")
    needed = {"the run": run}
    if is_run_folder(run):
        with RunFolder.open_to_read(run) as opened:
            name = Path(opened.config.model.name or "")
        if name.is_absolute():
            needed["the model that the run began with"] = name
    for what, path in needed.items():
        own = path.resolve()
        if target == own or target in own.parents or own in target.parents:
            raise RunError(f"{folder} is, holds or lies in {what} ({path}); give a folder apart from it")
