"""Scoring documents by a language model that learns nothing from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from everlearn.context import Lanes, make_carry
from everlearn.learning.language.config import LanguageConfig
from everlearn.learning.language.logit_form import LogitForm
from everlearn.learning.language.losses import LossTally
from everlearn.learning.language.objective import LanguageBatch, LanguageObjective
from everlearn.learning.language.reading import read_example
from everlearn.learning.text_losses import LossSums
from everlearn.types import Example, TextLoss

__all__ = ["DocumentScorer"]


class DocumentScorer:
    """Reads documents chunk by chunk in lanes of its own, as a learner of the same settings does.

    Args:
        tokenizer: Of the models that are scored.
        config: How texts are read.
        autocast_dtype: Reduced precision of matrix products; None: the weights' own.
        form: How the models' logits come from their hidden states.
    """

    def __init__(
        self, tokenizer: Any, config: LanguageConfig, autocast_dtype: torch.dtype | None, form: LogitForm
    ) -> None:
        self._tokenizer = tokenizer
        self._config = config
        self._autocast_dtype = autocast_dtype
        self._form = form

    def score(self, model: nn.Module, examples: Sequence[Example]) -> tuple[TextLoss, ...]:
        """Losses by domain of documents that are read from their beginning.

        Args:
            model: The causal LM.
            examples: Documents, or their pieces one after another.

        Raises:
            InputError: An example has no text, or its messages cannot be rendered.
        """
        sums = LossSums()
        self._add_up(model, examples, sums)
        return tuple(sums.by_domain())

    def score_each(self, model: nn.Module, groups: Sequence[Sequence[Example]]) -> list[TextLoss]:
        """One loss a group of documents or pieces, in order. Raises as ``score``."""
        sums = LossSums(groups)
        self._add_up(model, [example for group in groups for example in group], sums)
        return sums.by_group()

    @torch.no_grad()
    def _add_up(self, model: nn.Module, examples: Sequence[Example], sums: LossSums) -> None:
        num_lanes, length = self._config.num_lanes, self._config.chunk_length
        carry = make_carry(model, self._config.carry, num_lanes)
        lanes = Lanes(num_lanes, length, carry.one_document_per_row)
        objective = LanguageObjective(model, carry, num_lanes, length, self._autocast_dtype, self._form)
        tally = LossTally(sums)
        for example in examples:
            lanes.add(read_example(self._tokenizer, example))
            # A document may be longer than what should wait in memory.
            while lanes.num_full >= num_lanes * length:
                self._score_chunk(model, lanes, objective, tally, flush=False)
        while lanes.num_pending:
            self._score_chunk(model, lanes, objective, tally, flush=True)

    def _score_chunk(
        self, model: nn.Module, lanes: Lanes, objective: LanguageObjective, tally: LossTally, *, flush: bool
    ) -> None:
        chunk = lanes.take(self._config.num_lanes * self._config.chunk_length, flush)
        assert chunk is not None
        result = objective.forward(model, LanguageBatch((), 0, (chunk,)))
        tally.take(chunk, result)
        for rows, carried in result.carried:
            objective.carry.advance(rows, carried)
