"""Adding up the losses of tokens by the domain of their examples."""

from __future__ import annotations

import numpy as np

from everlearn.context import NO_LABEL, LaneChunk
from everlearn.learning.language.objective import LanguageResult
from everlearn.types import TextLoss

__all__ = ["LossTally"]


class LossTally:
    """Sums of nats, tokens and bytes by domain.

    Attributes:
        num_tokens: Target tokens so far.
    """

    def __init__(self) -> None:
        self.num_tokens = 0
        self._sums: dict[str | None, list[float]] = {}

    def take(self, chunk: LaneChunk, result: LanguageResult) -> None:
        """Take in what a forward pass over one chunk gave."""
        is_target = (chunk.labels != NO_LABEL) & chunk.is_target
        nats = np.zeros(chunk.labels.shape)
        nats[is_target] = result.nats_T.double().cpu().numpy()
        for span in chunk.spans:
            place = (span.row, slice(span.start, span.stop))
            sums = self._sums.setdefault(span.domain, [0.0, 0, 0])
            sums[0] += float(nats[place].sum())
            sums[1] += int(is_target[place].sum())
            sums[2] += int(chunk.num_bytes[place].sum())
        self.num_tokens += int(is_target.sum())

    def losses(self) -> tuple[TextLoss, ...]:
        """One loss a domain, in the order of their first appearance."""
        return tuple(
            TextLoss(domain=domain, nats=nats, tokens=int(tokens), bytes=int(num_bytes))
            for domain, (nats, tokens, num_bytes) in self._sums.items()
            if tokens
        )
