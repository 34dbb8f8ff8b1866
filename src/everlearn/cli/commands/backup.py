"""``everlearn backup`` and ``everlearn restore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from everlearn.cli import options
from everlearn.cli.examples import examples
from everlearn.cli.failures import print_note
from everlearn.cli.tables import print_result

__all__ = ["backup", "restore"]


@examples(
    "everlearn backup runs/desk --out desk.tar",
    "everlearn backup hubs/support --out /backups/support.tar --with-keys",
)
def backup(
    place: Annotated[Path, typer.Argument(metavar="PATH", help="A run, or a hub.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The archive, a new file.", show_default=False)],
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Also the hashes of a service's keys.")
    ] = False,
    json_output: options.Json = False,
) -> None:
    """Back up a run or a hub into one file, also while it is served and goes on learning.

    The journal is copied as it is at one moment, with the states that it names, predictions that
    feedback may name, adapters and certificates. What is deleted later is still in the backup.
    """
    from everlearn.runtime.commands.backup import back_up

    done = back_up(place, out, with_keys=with_keys)
    for note in done.notes:
        print_note(note)
    rows = [("written", str(out)), ("files", f"{done.num_files:,}"), ("bytes", f"{done.num_bytes:,}")]
    rows += [(f"step of {name}" if name else "step", f"{step:,}") for name, step in done.steps.items()]
    print_result(done.to_json(), rows, as_json=json_output)


@examples("everlearn restore desk.tar --out runs/desk")
def restore(
    archive: Annotated[
        Path, typer.Argument(metavar="FILE", help="What everlearn backup has written.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="A new folder for the run or hub.", show_default=False)
    ],
    json_output: options.Json = False,
) -> None:
    """Restore a backup into a new folder; every file is verified by its checksum.

    Nothing is overwritten, and nothing is restored of an archive that is cut off or was changed.
    """
    from everlearn.runtime.commands.backup import restore as restore_archive

    done = restore_archive(archive, out)
    for note in done.notes:
        print_note(note)
    rows = [("restored", str(out)), ("files", f"{done.num_files:,}")]
    print_result(done.to_json(), rows, as_json=json_output)
