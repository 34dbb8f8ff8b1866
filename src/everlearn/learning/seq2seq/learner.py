"""An encoder-decoder that learns from a stream of pairs by gradient steps, one a batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from everlearn.errors import InputError, ModelError, StateError
from everlearn.learning.batch import Batch
from everlearn.learning.gradient.learner_state import check_description
from everlearn.learning.gradient.trained_learner import TrainedLearner
from everlearn.learning.gradient.training import Training
from everlearn.learning.method import Method
from everlearn.learning.seq2seq.config import Seq2SeqConfig
from everlearn.learning.seq2seq.decoding import Decoding
from everlearn.learning.seq2seq.losses import PairLossTally
from everlearn.learning.seq2seq.objective import Seq2SeqObjective
from everlearn.learning.seq2seq.pairs import PairReader
from everlearn.learning.seq2seq.predictor import Seq2SeqPredictor, predict_targets, score_groups, score_pairs
from everlearn.learning.seq2seq.trained_part import select_seq2seq_parameters
from everlearn.memory import ModelExample
from everlearn.models.encoder.token_limits import may_exceed, token_problem
from everlearn.models.language.languages import language_id, set_languages
from everlearn.models.language.pair_tokens import PairTokenizer
from everlearn.models.language.seq2seq import Seq2SeqModel
from everlearn.models.language.tokens import tokenizer_sha256
from everlearn.models.storage.dtype import DtypeName, choose_dtype
from everlearn.types import Example, Json, Prediction, State, StepReport, TextLoss

__all__ = ["Seq2SeqLearner"]

_FORMAT_VERSION = 1
_DEFAULT_MAX_LENGTH = 512


class Seq2SeqLearner(TrainedLearner):
    """Translates source texts, and learns from target texts: one call of ``learn`` is one step.

    ``Example.text`` is the source, ``Example.target`` the target. Implements ``everlearn.types.Learner``;
    predictions have the generated text as their only label.

    On one thread the learner is a function of its settings and of the batches it was given, to the bit;
    the global random generators are neither read nor changed.

    Args:
        seq2seq_model: In float32. The learner takes its model over: adapters are added to it, and its
            weights change.
        config: How pairs are read and learned, and how targets are generated.
        methods: Continual-learning methods, in order.
        dtype: What matrix products run in, in place of what ``config`` says.

    Raises:
        ConfigError: The model has no such part as is to be trained.
        ModelError: The model does not say by which token targets start or end.
        MissingExtraError: ``trainable="lora"`` without peft.
    """

    def __init__(
        self,
        seq2seq_model: Seq2SeqModel,
        config: Seq2SeqConfig | None = None,
        methods: Sequence[Method] = (),
        *,
        dtype: DtypeName | None = None,
    ) -> None:
        self.config = config if config is not None else Seq2SeqConfig()
        self.seq2seq_model = seq2seq_model
        if self.config.source_language is not None and self.config.target_language is not None:
            set_languages(seq2seq_model.tokenizer, self.config.source_language, self.config.target_language)
        self.model = _prepared(seq2seq_model.model)
        self._tokenizer_sha256 = tokenizer_sha256(seq2seq_model.tokenizer)
        select_seq2seq_parameters(self.model, self.config.optimization)
        device = next(self.model.parameters()).device
        products_dtype = choose_dtype(dtype or self.config.optimization.dtype, device)
        autocast_dtype = None if products_dtype == torch.float32 else products_dtype
        self._decoding = _decoding(seq2seq_model, self.config, autocast_dtype)
        limit = seq2seq_model.max_length or _DEFAULT_MAX_LENGTH
        self._reader = PairReader(
            seq2seq_model.tokenizer,
            self._decoding.end_id,
            min(self.config.max_source_length or limit, limit),
            self._decoding.max_target_length,
        )
        self._objective = Seq2SeqObjective(
            self._decoding.start_id,
            self._decoding.pad_id,
            self.config.label_smoothing,
            self.config.tokens_at_once,
            seq2seq_model.max_length,
            autocast_dtype,
        )
        self.training = Training(
            self.model, self._objective, self.config.optimization, self.config.stability, methods
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """None: targets are texts."""
        return ()

    def reading_problem(self, example: Example) -> str | None:
        """Why an example cannot be read; None: it can."""
        tokenizer = self.seq2seq_model.tokenizer
        if not may_exceed(tokenizer, self.model):
            return None
        ids = [*self._reader.sources([example])[0], *self._reader.targets([example.target or ""])[0]]
        return token_problem(tokenizer, self.model, ids)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Generate a target for each source, by the averaged weights where weights are averaged.

        Raises:
            InputError: An example has no text.
        """
        with self.training.averaged():
            return predict_targets(self.model, self._reader, self._decoding, examples)

    def frozen(self) -> Seq2SeqPredictor:
        """The model as it predicts now; it stays so while the learner goes on. Takes its memory once more."""
        with self.training.averaged():
            model = copy.deepcopy(self.model).requires_grad_(False)
        return Seq2SeqPredictor(model, self._reader, self._decoding, self._objective)

    def learn(self, examples: Sequence[Example]) -> StepReport:
        """Make one step on the pairs that have a target, and on what the methods add.

        Raises:
            InputError: An example has no text; nothing was learned.
            ModelError: Training diverged; the weights are as before the step.
        """
        known = [(example, example.target) for example in examples if example.target is not None]
        without_target = len(examples) - len(known)
        if not known:
            return StepReport(num_learned=0, num_without_target=without_target)
        fresh = self._batch(known)
        tally = PairLossTally(self._reader)
        split = partial(self._objective.split, after_forward=tally.take)
        result = self.training.step(fresh, split)
        self.training.num_examples += len(known)
        return StepReport(
            num_learned=len(known),
            num_without_target=without_target,
            loss=result.loss,
            num_replayed=len(result.batch) - result.batch.num_fresh,
            text_losses=tally.losses(),
            num_tokens=tally.num_tokens,
            gradient_norm=result.gradient_norm,
            skipped=result.skipped,
        )

    def score(self, examples: Sequence[Example]) -> tuple[TextLoss, ...]:
        """Losses of the targets by domain, without learning; pairs without target are passed over.

        Raises:
            InputError: An example has no text.
        """
        with self.training.averaged():
            return score_pairs(self.model, self._reader, self._objective, examples)

    def score_each(self, groups: Sequence[Sequence[Example]]) -> list[TextLoss]:
        """One loss a group of pairs, in order, as of ``score``."""
        with self.training.averaged():
            return score_groups(self.model, self._reader, self._objective, groups)

    def model_examples(self, examples: Sequence[Example]) -> list[ModelExample]:
        """Pairs as steps and memories keep them: fill a memory with what the model was trained on before.

        Raises:
            InputError: An example has no text or no target.
        """
        for example in examples:
            if example.target is None:
                raise InputError(f"example {example.id!r} has no target")
        return self._reader.pairs(examples, [example.target or "" for example in examples])

    def _batch(self, known: Sequence[tuple[Example, str]]) -> Batch:
        pairs = self._reader.pairs([example for example, _ in known], [target for _, target in known])
        return Batch(tuple(pairs), len(pairs))

    def state(self) -> State:
        """Trained weights, optimizer, methods and counts; not the frozen part of the model."""
        training = self.training.state()
        return State(training.tensors, {**self.description(), "training": training.data})

    def restore(self, state: State) -> None:
        """Replace the state.

        Raises:
            StateError: The state is damaged, or of a learner with another model, tokenizer, configuration
                or other methods.
        """
        check_description(state, self.description())
        try:
            training = state.data["training"]
        except KeyError as error:
            raise StateError(f"the saved learner is damaged: {error!r}") from error
        self.training.restore(State(state.tensors, training))

    def description(self) -> dict[str, Json]:
        """What a state must agree with to be restored: the model, the tokenizer, the configuration."""
        config = self.config.to_json()
        for name in ("source_language", "target_language"):
            if config[name] is None:
                del config[name]  # as runs have it that were made before there were languages
        return {
            "kind": "seq2seq",
            "format_version": _FORMAT_VERSION,
            "model": self.seq2seq_model.sha256,
            "tokenizer": self._tokenizer_sha256,
            "config": config,
        }


def _prepared(model: Any) -> nn.Module:
    """The model in evaluation mode and in no reduced precision, with attention that trains fast."""
    prepared: Any = model.eval()
    if next(prepared.parameters()).dtype in (torch.bfloat16, torch.float16):
        # Small updates would be rounded away.
        prepared = prepared.float()
    if next(prepared.parameters()).device.type == "cpu":
        # The backward pass of the fused attention kernel for CPUs takes several times as long as
        # plain matrix products at the lengths that are common here.
        prepared.set_attn_implementation("eager")
    module: nn.Module = prepared
    return module


def _decoding(
    seq2seq_model: Seq2SeqModel, config: Seq2SeqConfig, autocast_dtype: torch.dtype | None
) -> Decoding:
    settings = [getattr(seq2seq_model.model, "generation_config", None), seq2seq_model.model.config]

    def token(name: str) -> int | None:
        for part in settings:
            value = getattr(part, name, None)
            if value is not None:
                return int(value[0] if isinstance(value, list) else value)
        return None

    tokenizer = seq2seq_model.tokenizer
    end_id = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else token("eos_token_id")
    start_id = token("decoder_start_token_id")
    if start_id is None and config.target_language is not None:
        start_id = language_id(tokenizer, config.target_language)
    if end_id is None or start_id is None:
        lacking = "eos_token_id" if end_id is None else "decoder_start_token_id"
        raise ModelError(f"model {seq2seq_model.name!r} says no {lacking}, so targets cannot be generated")
    first_id = token("forced_bos_token_id")
    if config.target_language is not None:
        start_id, first_id = _with_language(seq2seq_model, config.target_language, start_id)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else token("pad_token_id")
    limit = seq2seq_model.max_length or _DEFAULT_MAX_LENGTH
    return Decoding(
        start_id=start_id,
        end_id=int(end_id),
        pad_id=int(pad_id if pad_id is not None else end_id),
        first_id=first_id,
        max_target_length=min(config.max_target_length or limit, limit),
        bounded_by_source=config.max_target_length is None,
        max_source_length=seq2seq_model.max_length,
        num_beams=config.num_beams,
        length_penalty=config.length_penalty,
        tokens_at_once=config.tokens_at_once,
        autocast_dtype=autocast_dtype,
    )


def _with_language(seq2seq_model: Seq2SeqModel, language: str, start_id: int) -> tuple[int, int | None]:
    """The token that the decoder reads first and the one that it writes first, for targets of a language.

    Some models write the language as a target's first token, others read it as the start. It is written into
    the model's settings for generation as well, so that whoever generates by the model does the same.
    """
    tokenizer, model = seq2seq_model.tokenizer, seq2seq_model.model
    number = language_id(tokenizer, language)
    before, _ = PairTokenizer(tokenizer).target_frame
    start_id, first_id = (start_id, number) if number in before else (number, None)
    model.generation_config.update(decoder_start_token_id=start_id, forced_bos_token_id=first_id)
    return start_id, first_id
