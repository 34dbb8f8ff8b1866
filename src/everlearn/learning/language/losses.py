"""Adding up the losses of tokens."""

from __future__ import annotations

import numpy as np

from everlearn.context import NO_LABEL, LaneChunk
from everlearn.learning.language.objective import LanguageResult
from everlearn.learning.text_losses import LossSums
from everlearn.types import TextLoss

__all__ = ["LossTally"]


class LossTally:
    """Sums of nats, tokens and bytes.

    Args:
        sums: Takes them, by domain or by group; None: by domain.

    Attributes:
        num_tokens: Target tokens so far.
    """

    def __init__(self, sums: LossSums | None = None) -> None:
        self.num_tokens = 0
        self._sums = LossSums() if sums is None else sums

    def take(self, chunk: LaneChunk, result: LanguageResult) -> None:
        """Take in what a forward pass over one chunk gave."""
        is_target = (chunk.labels != NO_LABEL) & chunk.is_target
        nats = np.zeros(chunk.labels.shape)
        nats[is_target] = result.nats_T.double().cpu().numpy()
        for span in chunk.spans:
            place = (span.row, slice(span.start, span.stop))
            self._sums.add(
                span.example_id,
                span.domain,
                float(nats[place].sum()),
                int(is_target[place].sum()),
                int(chunk.num_bytes[place].sum()),
            )
        self.num_tokens += int(is_target.sum())

    def losses(self) -> tuple[TextLoss, ...]:
        """One loss a domain, in the order of their first appearance."""
        return tuple(self._sums.by_domain())
