"""A causal language model that learns from a stream of documents, read chunk by chunk."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from everlearn.context import LaneChunk, Lanes, make_carry
from everlearn.context.decoder import decoder_of, evaluating, takes
from everlearn.errors import ConfigError, InputError, StateError
from everlearn.learning.gradient.learner_state import (
    check_description,
    most_forgotten,
    with_prefix,
    without_prefix,
)
from everlearn.learning.gradient.step import StepResult
from everlearn.learning.gradient.trainable import select_trainable_parameters
from everlearn.learning.gradient.trained_learner import TrainedLearner
from everlearn.learning.gradient.training import Training
from everlearn.learning.language.checkpointing import checkpoint_layers
from everlearn.learning.language.config import LanguageConfig
from everlearn.learning.language.growing_vocabulary import GrowingVocabulary
from everlearn.learning.language.logit_form import check_logit_form, find_logit_form
from everlearn.learning.language.losses import LossTally
from everlearn.learning.language.objective import LanguageBatch, LanguageObjective
from everlearn.learning.language.progress import StepProgress
from everlearn.learning.language.reading import chat_of, read_example
from everlearn.learning.language.scoring import DocumentScorer
from everlearn.learning.language.segments import encode_segment
from everlearn.learning.method import Method
from everlearn.memory import ModelExample
from everlearn.models.encoder.token_limits import may_exceed, token_problem
from everlearn.models.grouped_attention import use_grouped_attention
from everlearn.models.language.causal import LanguageModel
from everlearn.models.language.tokens import tokenizer_sha256
from everlearn.models.storage.dtype import DtypeName, choose_dtype
from everlearn.types import Boundary, Example, ForgetReport, Json, Prediction, State, StepReport, TextLoss

__all__ = ["LanguageLearner"]

_FORMAT_VERSION = 1


class LanguageLearner(TrainedLearner):
    """Test, then train, on documents: each chunk's loss is taken before anything of its step is learned.

    Documents lie in lanes, side by side; a step is made as soon as ``tokens_per_step`` tokens wait in full
    rows, and what is left over waits for the next call (``settle`` learns it too). Lanes, carried context,
    weights, optimizer and methods are all state. Implements ``everlearn.types.Learner``; its predictions
    are empty, as the losses of the stream come with the reports of ``learn``.

    Where the vocabulary is to grow, it does so once, at the beginning of a call of ``learn``: what waits is
    learned first, and the examples of that call are the first to be read with the new words.

    On one thread the learner is a function of its settings and the examples it was given, to the bit.

    Args:
        language_model: In float32. The learner takes its model over: adapters are added to it, its weights
            change, and weights that stay frozen are rounded to the precision of the matrix products.
        config: How texts are read and learned.
        methods: Continual-learning methods, in order.
        dtype: What matrix products run in, and what frozen weights are rounded to, in place of what
            ``config`` says: who only reads a state can do so more exactly than it was made.

    Raises:
        ConfigError: The model has no such part as is to be trained.
        ModelError: The model carries nothing of the kind that ``config.carry`` names, or its vocabulary is to
            grow and cannot.
        MissingExtraError: ``trainable="lora"`` without peft.
    """

    learns_at_once = False

    def __init__(
        self,
        language_model: LanguageModel,
        config: LanguageConfig | None = None,
        methods: Sequence[Method] = (),
        *,
        dtype: DtypeName | None = None,
    ) -> None:
        self.config = config if config is not None else LanguageConfig()
        self.language_model = language_model
        model: nn.Module = language_model.model
        self.model = model.eval()
        self.tokenizer = language_model.tokenizer
        self._tokenizer_sha256 = tokenizer_sha256(self.tokenizer)
        optimization = self.config.optimization
        self._vocabulary: GrowingVocabulary | None = None
        self._is_watching = True
        if self.config.vocabulary.words:
            self._vocabulary = GrowingVocabulary(model, self.tokenizer, self.config.vocabulary)
        form = find_logit_form(model)
        layers = _decoder_layers(model)
        select_trainable_parameters(model, len(layers), optimization)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ConfigError(
                f"trainable: {optimization.trainable!r} leaves nothing to learn in {type(model).__name__}; "
                "set it to 'lora' or 'all' (--train)"
            )
        if self._vocabulary is not None:
            _freeze_head_bias(model)
        device = next(model.parameters()).device
        products_dtype = choose_dtype(dtype or optimization.dtype, device)
        self._autocast_dtype = None if products_dtype == torch.float32 else products_dtype
        _set_precision(model, products_dtype)
        if self._autocast_dtype is not None and not _runs(model, self._autocast_dtype):
            _set_format(model, torch.float32)
        if self.config.gradient_checkpointing:
            if not layers:
                raise ConfigError(
                    f"gradient_checkpointing: {type(model).__name__} has no list of layers to compute again; "
                    "leave it out (--no-gradient-checkpointing)"
                )
            checkpoint_layers(layers)
        use_grouped_attention(model)
        self._carry = make_carry(model, self.config.carry, self.config.num_lanes)
        self._lanes = self._new_lanes(self.config.num_lanes)
        self._form = check_logit_form(model, form, self._autocast_dtype)
        self._objective = LanguageObjective(
            model,
            self._carry,
            self.config.num_lanes,
            self.config.chunk_length,
            self._autocast_dtype,
            self._form,
        )
        self.training = Training(model, self._objective, optimization, self.config.stability, methods)
        self._scorer = DocumentScorer(self.tokenizer, self.config, self._autocast_dtype, self._form)
        self._num_tokens = 0

    @property
    def labels(self) -> tuple[str, ...]:
        """None: a language model predicts tokens."""
        return ()

    @property
    def num_tokens(self) -> int:
        """Tokens that were learned; those that wait in the lanes not yet."""
        return self._num_tokens

    @property
    def is_settled(self) -> bool:
        """Whether no token waits in the lanes."""
        return self._lanes.num_pending == 0

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Empty predictions; see ``score`` for losses without learning."""
        nothing = np.empty(0)
        return [Prediction(None, (), nothing) for _ in examples]

    def reading_problem(self, example: Example) -> str | None:
        """Why an example cannot be read; None: it can."""
        may_lack_rows = may_exceed(self.tokenizer, self.model)
        if chat_of(example) is None and not may_lack_rows:
            return None
        try:
            run = read_example(self.tokenizer, example)
        except InputError as error:
            return str(error).removeprefix(f"example {example.id!r}: ")
        return token_problem(self.tokenizer, self.model, run.ids) if may_lack_rows else None

    def problem_with(self, examples: Sequence[Example]) -> str | None:
        """Why losses of documents are of no use; None: they are."""
        nats = sum(loss.nats for loss in self.score(examples))
        return None if math.isfinite(nats) else f"the loss is {nats}"

    def waiting_ids(self) -> list[str]:
        """Examples with tokens that wait in the lanes, in order."""
        return self._lanes.waiting_ids()

    def learn(self, examples: Sequence[Example]) -> StepReport:
        """Append the examples to their documents, and make as many steps as are due.

        Raises:
            InputError: An example has no text, or its messages cannot be rendered; nothing was learned.
            ModelError: Training diverged; the weights are as before the step that did, whose text counts
                as read.
        """
        # Read before anything changes: what cannot be read is refused here.
        runs = [read_example(self.tokenizer, example) for example in examples]
        progress = StepProgress()
        vocabulary = self._vocabulary if self._is_watching else None
        if vocabulary is not None and vocabulary.is_due:
            self._make_steps(progress, flush=True)
            progress.grown = vocabulary.grow(self.training, self._autocast_dtype, self.config.chunk_length)
            self._read_with(vocabulary.tokenizer)
            runs = [read_example(self.tokenizer, example) for example in examples]
        if vocabulary is not None:
            vocabulary.watch(examples)
        for run in runs:
            self._lanes.add(run)
        self.training.num_examples += len(examples)
        self._make_steps(progress, flush=False)
        return progress.report(len(examples))

    def settle(self) -> StepReport:
        """Learn the tokens that wait in the lanes, in rows that are not full.

        Raises:
            ModelError: As for ``learn``.
        """
        progress = StepProgress()
        self._make_steps(progress, flush=True)
        return progress.report(0)

    def _make_steps(self, progress: StepProgress, *, flush: bool) -> None:
        before = progress.tally.num_tokens
        while self._lanes.num_pending if flush else self._lanes.num_full >= self.config.tokens_per_step:
            progress.results.append(self._step(progress.tally, flush))
        self._num_tokens += progress.tally.num_tokens - before

    def _step(self, tally: LossTally, flush: bool) -> StepResult:
        chunks = list(self._take_chunks(flush))
        segments = tuple(segment for chunk in chunks for segment in _segments(chunk))
        fresh = LanguageBatch(segments, len(segments), tuple(chunks))
        self._objective.on_chunk = tally.take
        try:
            return self.training.step(fresh, self._objective.split)
        finally:
            self._objective.on_chunk = None

    def _take_chunks(self, flush: bool) -> Iterable[LaneChunk]:
        taken, length = 0, self.config.chunk_length
        while taken < self.config.tokens_per_step:
            room = min(self.config.num_lanes * length, self.config.tokens_per_step - taken)
            chunk = self._lanes.take(max(length, room), flush)
            if chunk is None:
                return
            taken += chunk.num_labels
            yield chunk

    def score(self, examples: Sequence[Example]) -> tuple[TextLoss, ...]:
        """Losses by domain of documents that are read from their beginning; nothing is learned.

        Predictions are those of the averaged weights, where weights are averaged.

        Raises:
            InputError: As for ``learn``.
        """
        with self.training.averaged():
            return self._scorer.score(self.model, examples)

    def score_each(self, groups: Sequence[Sequence[Example]]) -> list[TextLoss]:
        """One loss a group of documents or pieces, in order, as of ``score``."""
        with self.training.averaged():
            return self._scorer.score_each(self.model, groups)

    def on_boundary(self, boundary: Boundary) -> None:
        """Let the methods consolidate, in order. The vocabulary grows at the next call of ``learn``."""
        self.training.on_boundary(boundary)
        if self._vocabulary is not None:
            self._vocabulary.pass_boundary()

    @contextmanager
    def without_growth(self) -> Iterator[None]:
        """Within the block the vocabulary neither watches what is learned nor grows."""
        before, self._is_watching = self._is_watching, False
        try:
            yield
        finally:
            self._is_watching = before

    def frozen(self) -> FrozenLanguageModel:
        """The model as it would serve now, averaged weights included; takes its memory once more."""
        with self.training.averaged():
            model = copy.deepcopy(self.model).requires_grad_(False)
        return FrozenLanguageModel(model, self._scorer)

    def forget(self, examples: Sequence[Example]) -> ForgetReport:
        """Drop what waits of these examples, what lanes carry of them, and what memories hold.

        The weights keep what they learned, and the report says so: ``exact`` is False, and
        ``num_forgotten`` counts the examples of which something was kept.
        """
        ids = {example.id for example in examples}
        kept = self._lanes.examples_of(ids)
        if self._vocabulary is not None:
            kept |= self._vocabulary.examples_of(ids)
            self._vocabulary.forget(ids)
        self._carry.reset(self._lanes.lanes_of(ids))
        self._lanes.forget(ids)
        for method in self.methods:
            method.forget(kept)
        num_others = most_forgotten(self.methods, ids - kept)
        return ForgetReport(num_forgotten=len(kept) + num_others, exact=self.num_examples == 0 or not ids)

    def state(self) -> State:
        """Weights, optimizer, methods, lanes and carried context; not the frozen part of the model."""
        training, lanes, carry = self.training.state(), self._lanes.state(), self._carry.state()
        return State(
            {
                **training.tensors,
                **with_prefix("lanes", lanes.tensors),
                **with_prefix("carry", {name: tensor.cpu() for name, tensor in carry.tensors.items()}),
            },
            {
                **self.description(),
                "num_tokens": self._num_tokens,
                "training": training.data,
                "lanes": lanes.data,
                "carry": carry.data,
                **({} if self._vocabulary is None else {"vocabulary": self._vocabulary.state()}),
            },
        )

    def restore(self, state: State) -> None:
        """Replace the state.

        Raises:
            StateError: The state is damaged, or of a learner with another model, tokenizer, configuration
                or other methods.
        """
        check_description(state, self.description())
        try:
            num_tokens = int(state.data["num_tokens"])
            training, lanes, carry = (state.data[name] for name in ("training", "lanes", "carry"))
            vocabulary = {} if self._vocabulary is None else state.data["vocabulary"]
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"the saved learner is damaged: {error!r}") from error
        if self._vocabulary is not None:
            self._vocabulary.restore(vocabulary, self.training)
            self._read_with(self._vocabulary.tokenizer)
        self.training.restore(State(state.tensors, training))
        self._lanes.restore(State(without_prefix("lanes", state.tensors), lanes))
        device = next(self.model.parameters()).device
        context = without_prefix("carry", state.tensors)
        self._carry.restore(State({name: tensor.to(device) for name, tensor in context.items()}, carry))
        self._num_tokens = num_tokens

    def _read_with(self, tokenizer: Any) -> None:
        if tokenizer is not self.tokenizer:
            self.tokenizer = tokenizer
            # Another one, as that of a frozen model goes on reading as it did.
            self._scorer = DocumentScorer(tokenizer, self.config, self._autocast_dtype, self._form)

    def _new_lanes(self, num_lanes: int) -> Lanes:
        return Lanes(num_lanes, self.config.chunk_length, self._carry.one_document_per_row)

    def description(self) -> dict[str, Json]:
        """What a state must agree with to be restored: the model, the tokenizer as it was before it grew, the
        configuration.
        """
        config: Json = self.config.to_json()
        if self._vocabulary is None:
            del config["vocabulary"]
        return {
            "kind": "language",
            "format_version": _FORMAT_VERSION,
            "model": self.language_model.sha256,
            "tokenizer": self._tokenizer_sha256,
            "config": config,
        }


class FrozenLanguageModel:
    """A copy of a model that stays as it is while its learner goes on.

    Args:
        model: The copy.
        scorer: Scores it as the learner is scored.
    """

    def __init__(self, model: nn.Module, scorer: DocumentScorer) -> None:
        self.model = model
        self._scorer = scorer

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Empty predictions, as of ``LanguageLearner``."""
        nothing = np.empty(0)
        return [Prediction(None, (), nothing) for _ in examples]

    def score(self, examples: Sequence[Example]) -> tuple[TextLoss, ...]:
        """Losses by domain, as of ``LanguageLearner``."""
        return self._scorer.score(self.model, examples)

    def score_each(self, groups: Sequence[Sequence[Example]]) -> list[TextLoss]:
        """One loss a group, as of ``LanguageLearner``."""
        return self._scorer.score_each(self.model, groups)


def _segments(chunk: LaneChunk) -> list[ModelExample]:
    segments = []
    for span in chunk.spans:
        place = (span.row, slice(span.start, span.stop))
        segments.append(
            encode_segment(
                span.example_id,
                int(chunk.position[span.row, span.start]),
                int(chunk.ids[span.row, span.start]),
                chunk.labels[place],
                chunk.is_target[place],
                span.domain,
            )
        )
    return segments


def _decoder_layers(model: nn.Module) -> nn.ModuleList:
    count = getattr(getattr(model, "config", None), "num_hidden_layers", 0)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count > 0:
            return module
    return nn.ModuleList()


def _freeze_head_bias(model: Any) -> None:
    # It grows with the head, and what it could say of a new word the word's row says.
    if model.get_output_embeddings().bias is not None:
        model.get_output_embeddings().bias.requires_grad_(False)


def _set_precision(model: nn.Module, dtype: torch.dtype) -> None:
    """Trained weights in float32, so that small updates are not rounded away; frozen ones as used."""
    for parameter in model.parameters():
        wanted = torch.float32 if parameter.requires_grad and dtype != torch.float64 else dtype
        if parameter.dtype not in (wanted, torch.float64):
            parameter.data = parameter.data.to(wanted)


def _runs(model: Any, autocast_dtype: torch.dtype) -> bool:
    """Whether a model runs on weights that were rounded; some have float32 within that goes with none."""
    if getattr(model, "is_rnn_language_model", False):
        return True
    device, decoder = next(model.parameters()).device, decoder_of(model)
    uncached = {"use_cache": False} if takes(decoder, "use_cache") else {}
    try:
        with evaluating(model), torch.autocast(device.type, autocast_dtype):
            decoder(input_ids=torch.zeros(1, 2, dtype=torch.long, device=device), **uncached)
    except RuntimeError:
        return False
    return True


def _set_format(model: nn.Module, dtype: torch.dtype) -> None:
    """All weights in a format, their values as they are."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
