"""Generating text: the continuation of a prompt, the answer in a chat, the target of a source.

S: source tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from everlearn.errors import ConfigError, InputError
from everlearn.models.language.pair_tokens import PairTokenizer
from everlearn.models.language.tokens import tokenize_prompt
from everlearn.models.storage.pretrained import max_length_of
from everlearn.models.storage.quiet import quiet_transformers
from everlearn.settings.generation import WritingSettings
from everlearn.settings.learner_config import LearnerConfig

__all__ = ["GenerationSettings", "generate"]

OnText = Callable[[str], None]

_REPLACEMENT = "\ufffd"
_CONTEXT = 8


class GenerationSettings(WritingSettings, LearnerConfig):
    """How text is written."""

    chat: bool = False
    """The prompt is a chat; the model answers as the assistant."""


_DEFAULTS = GenerationSettings()


def generate(
    model: Any,
    tokenizer: Any,
    prompt: object,
    settings: GenerationSettings = _DEFAULTS,
    *,
    on_text: OnText | None = None,
    on_note: OnText = lambda _: None,
) -> str:
    """Generate text for one prompt, by ``model.generate`` of transformers.

    The model and torch's global generator are left as they were. Generation ends at a token that the model's
    generation settings or the tokenizer call an end.

    Args:
        model: Causal language model or encoder-decoder, adapted by peft or not.
        tokenizer: Its tokenizer; it need not have a padding token.
        prompt: The beginning of a document, or the source of an encoder-decoder. In a chat: the user's
            message, or the messages so far ("role" and "content").
        settings: How it is written.
        on_text: Is told each piece of text as soon as it is certain; the pieces joined are the result (save
            for the signs that stand for invalid UTF-8). With beams there is one piece, at the end.
        on_note: Is told what was left out of a prompt that is too long.

    Returns:
        The generated text, without the prompt and without special tokens.

    Raises:
        ConfigError: ``max_new_tokens`` leaves no room for a prompt in the model's length.
        InputError: The prompt is empty, the chat is malformed or has no template, or a chat is longer than
            the model can read. Any other prompt that is too long loses its beginning (but not the token
            that begins a document).
    """
    if model.config.is_encoder_decoder:
        inputs = _source(tokenizer, str(prompt), max_length_of(model.config, tokenizer), model.device)
    else:
        ids = _fitting_prompt(model, tokenizer, prompt, settings, on_note)
        inputs = {"input_ids": torch.tensor([ids], device=model.device)}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    skipped = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
    # What begins a word is told from the token before it, by many tokenizers.
    context = [] if model.config.is_encoder_decoder else inputs["input_ids"][0, -_CONTEXT:].tolist()
    is_told = on_text is not None and settings.num_beams == 1
    streamer = (
        _Streamer(tokenizer, on_text, context, settings.stop) if is_told and on_text is not None else None
    )
    stopping = StoppingCriteriaList(
        [_StopAt(tokenizer, context, skipped, settings.stop)] if settings.stop else []
    )
    with _undisturbed(model, settings.seed):
        (sequence,) = model.generate(
            **inputs,
            generation_config=_settings(model, tokenizer, settings),
            streamer=streamer,
            stopping_criteria=stopping,
        )
    text = _before_stop(_continuation(tokenizer, context, sequence[skipped:].tolist()), settings.stop)
    if streamer is not None:
        streamer.finish(text)
    elif on_text is not None and text:
        on_text(text)
    return text


def _fitting_prompt(
    model: Any, tokenizer: Any, prompt: object, settings: GenerationSettings, on_note: OnText
) -> list[int]:
    ids: list[int] = tokenize_prompt(tokenizer, prompt, chat=settings.chat).tolist()
    max_new_tokens = settings.max_new_tokens
    limit = max_length_of(model.config, tokenizer)
    if limit is None or len(ids) + max_new_tokens <= limit:
        return ids
    room = limit - max_new_tokens
    if room < 2:
        raise ConfigError(
            f"max_new_tokens: {max_new_tokens} leaves no room for a prompt; the model takes {limit} tokens"
        )
    if settings.chat:
        raise InputError(
            f"the chat has {len(ids)} tokens and {max_new_tokens} are to follow, but the model takes "
            f"{limit}; leave out messages or lower max_new_tokens"
        )
    on_note(
        f"The prompt has {len(ids):,} tokens and {max_new_tokens:,} are to follow, but the model takes "
        f"{limit:,}: {len(ids) - room:,} from the prompt's beginning are left out."
    )
    # The token that begins a document is kept: models lean on their first token.
    return [ids[0], *ids[len(ids) - room + 1 :]]


def _source(tokenizer: Any, source: str, limit: int | None, device: torch.device) -> dict[str, torch.Tensor]:
    """Token ids and mask (1, S); where there is none, a padding token that is not looked at."""
    ids = PairTokenizer(tokenizer).source(source, limit)
    ids_1S = torch.tensor([[*ids] or [tokenizer.pad_token_id or 0]], device=device)
    return {"input_ids": ids_1S, "attention_mask": torch.full_like(ids_1S, int(len(ids) > 0))}


def _settings(model: Any, tokenizer: Any, wanted: GenerationSettings) -> Any:
    """The model's own settings (its end tokens, languages, …) with what the caller decides."""
    settings = copy.deepcopy(model.generation_config)
    named = settings.eos_token_id
    ends = [named] if isinstance(named, int) else list(named or [])
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ends:
        ends.append(tokenizer.eos_token_id)
    paddings = (settings.pad_token_id, tokenizer.pad_token_id, *ends, 0)
    drawn = wanted.temperature > 0
    # A decoder may have a position for each token that it reads: a start, and all it wrote but the last.
    has_decoder = model.config.is_encoder_decoder
    limit = getattr(model.config, "max_position_embeddings", None) if has_decoder else None
    settings.update(
        max_new_tokens=min(wanted.max_new_tokens, limit or wanted.max_new_tokens),
        max_length=None,
        do_sample=drawn,
        temperature=wanted.temperature if drawn else 1.0,
        top_p=wanted.top_p if drawn else 1.0,
        top_k=0 if drawn else 50,
        num_beams=wanted.num_beams,
        num_return_sequences=1,
        return_dict_in_generate=False,
        eos_token_id=ends or None,
        # One sequence is never padded, but transformers asks for a token.
        pad_token_id=next(token for token in paddings if token is not None),
    )
    return settings


@contextmanager
def _undisturbed(model: Any, seed: int) -> Iterator[None]:
    """Evaluation mode, no gradients, no log lines, draws by the seed; all is as before at the end."""
    was_training = {module: module.training for module in model.modules()}
    devices = range(torch.cuda.device_count()) if model.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad(), quiet_transformers():
            torch.manual_seed(seed)
            model.eval()
            yield
    finally:
        for module, training in was_training.items():
            module.training = training


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _continuation(tokenizer: Any, context: Sequence[int], ids: Sequence[int]) -> str:
    """The text of tokens behind others."""
    before = _decode(tokenizer, list(context))
    text = _decode(tokenizer, [*context, *ids])
    return text[len(before) :] if text.startswith(before) else _decode(tokenizer, list(ids))


def _before_stop(text: str, stop: Sequence[str]) -> str:
    """A text up to the first of the texts that end it."""
    return text[: min((place for string in stop if (place := text.find(string)) >= 0), default=len(text))]


class _StopAt(StoppingCriteria):
    """Ends a row once one of some texts is written.

    Args:
        tokenizer: Decodes.
        context: The last tokens of the prompt.
        skipped: Tokens of a row that are not written.
        stop: The texts.
    """

    def __init__(self, tokenizer: Any, context: Sequence[int], skipped: int, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._context = context
        self._skipped = skipped
        self._stop = stop
        # A token is a byte at least, so no text that ends with the newest token begins before these.
        self._num_tokens = max(len(string.encode()) for string in stop) + _CONTEXT

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        """Which rows end (B,)."""
        ended = []
        for row in input_ids[:, self._skipped :].tolist():
            new = row[-self._num_tokens :]
            context = self._context if len(new) == len(row) else []
            text = _continuation(self._tokenizer, context, new)
            ended.append(_before_stop(text, self._stop) != text)
        return torch.tensor(ended, device=input_ids.device)


class _Streamer:
    """Turns tokens into text as they come; what ``model.generate`` calls.

    Text is decoded from a token a little before the news, so that the cost of a token does not grow, and
    bytes of an unfinished character wait for the rest. So does what may be the beginning of a text that
    ends the generation.

    Args:
        tokenizer: Decodes.
        on_text: Is told.
        context: The last tokens of the prompt.
        stop: Texts that end the generation.
    """

    def __init__(
        self, tokenizer: Any, on_text: OnText, context: Sequence[int] = (), stop: Sequence[str] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._on_text = on_text
        self._ids: list[int] = list(context)
        self._begin = 0  # first token of what is decoded
        self._told = len(context)  # tokens that were told
        self._text = ""  # what was told
        self._undecided = ""  # what may be the beginning of a stop
        self._stop = stop
        self._seen_prompt = False

    def put(self, value: torch.Tensor) -> None:
        """The prompt first, then one token a call."""
        if not self._seen_prompt:
            self._seen_prompt = True
            return
        self._ids.extend(value.flatten().tolist())
        news = self._news()
        if not news.endswith(_REPLACEMENT):
            self._begin, self._told = self._told, len(self._ids)
            self._tell(news)

    def end(self) -> None:
        """Nothing: ``finish`` tells the rest."""

    def finish(self, text: str) -> None:
        """Tell what is left of the whole text."""
        rest = text[len(self._text) :] if text.startswith(self._text) else self._undecided + self._news()
        self._undecided, self._stop = "", ()
        self._tell(rest)

    def _news(self) -> str:
        before = _decode(self._tokenizer, self._ids[self._begin : self._told])
        text = _decode(self._tokenizer, self._ids[self._begin :])
        # A byte that makes those before it invalid changes what they were told as.
        return (
            text[len(before) :]
            if text.startswith(before)
            else _decode(self._tokenizer, self._ids[self._told :])
        )

    def _tell(self, text: str) -> None:
        text = self._undecided + text
        kept = len(_before_stop(text, self._stop))
        if kept == len(text):
            begun = (
                size
                for string in self._stop
                for size in range(min(len(string) - 1, len(text)), 0, -1)
                if text.endswith(string[:size])
            )
            kept -= max(begun, default=0)
        text, self._undecided = text[:kept], text[kept:]
        if text:
            self._text += text
            self._on_text(text)
