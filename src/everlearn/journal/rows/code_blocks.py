"""The leading parts of all codes that count, block by block: to find those that are alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from everlearn.journal.journal import Journal
from everlearn.types import Int8Array

__all__ = ["leading_codes"]

_OFFSETS_AT_ONCE = 2_000


def leading_codes(journal: Journal, size: int) -> Iterator[tuple[npt.NDArray[np.int64], Int8Array]]:
    """Offsets (N,) and the first ``size`` components of the codes (N, size), in order of offsets.

    Checksums are over whole codes, so these parts are not verified: nothing may be learned from them.

    Args:
        journal: The journal.
        size: Components.
    """
    generations, last = journal.generations, journal.next_offset - 1
    wanted = generations.current
    for first in range(1, last + 1, _OFFSETS_AT_ONCE):
        stop = min(first + _OFFSETS_AT_ONCE - 1, last)
        if generations.have_changed:
            parts = {
                offset: part
                for offset, step, part in journal.database.rows(
                    "SELECT c.offset, e.step, substr(c.dense, 1, ?) FROM codes c "
                    "CROSS JOIN examples e ON e.offset = c.offset WHERE c.offset BETWEEN ? AND ?",
                    (size, first, stop),
                )
                if generations.at(step) == wanted
            }
            parts |= generations.tuned_parts(wanted, first, stop, size)
        else:
            parts = dict(
                journal.database.rows(
                    "SELECT offset, substr(dense, 1, ?) FROM codes WHERE offset BETWEEN ? AND ?",
                    (size, first, stop),
                )
            )
        whole = sorted(offset for offset, part in parts.items() if len(part) == size)
        if whole:
            codes = np.frombuffer(b"".join(parts[offset] for offset in whole), np.int8)
            yield np.array(whole, np.int64), codes.reshape(-1, size)
