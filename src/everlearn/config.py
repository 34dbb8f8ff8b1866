"""The settings of a run as one typed tree: YAML in and out, unknown keys refused.

A setting is addressed by its dotted path (``model.max_length``) in messages and in
:meth:`RunConfig.with_settings`. The packages below the runtime never see this tree: the runtime
translates it into their own configuration classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from everlearn.errors import ConfigError, ConfigFileError

__all__ = [
    "ClosedFormSettings",
    "GradientSettings",
    "GuardSettings",
    "LanguageSettings",
    "LearnerSettings",
    "ModelSettings",
    "RunConfig",
    "RunSettings",
    "StreamSettings",
    "TaskName",
    "TranslationSettings",
    "flatten_settings",
]


TaskName = str


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


class ModelSettings(_Settings):
    """The pretrained model and how texts are read with it."""

    name: str | None = Field(default=None, min_length=1)
    """A name that everlearn knows, a folder, or a name on the Hugging Face hub; None: the task's own."""
    max_length: int = Field(default=256, ge=8, le=32_768)
    """Tokens; the rest of a text is cut off (or goes into further windows)."""
    windows: int = Field(default=1, ge=1, le=1_000)
    """At most so many windows of ``max_length`` tokens are read from a long text and averaged."""
    layers: tuple[int, ...] | None = None
    """Encoder layers whose pooled states make the code; None: a spread chosen from the depth."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch_invariant: bool = False
    """Encode in fixed shapes, so that a text's code never depends on the texts around it."""


class StreamSettings(_Settings):
    """How the stream is read and in what order it is learned."""

    text_field: str = Field(default="text", min_length=1)
    target_field: str | None = None
    id_field: str | None = None
    domain_field: str | None = None
    time_field: str | None = None
    strict: bool = False
    max_record_bytes: int | None = Field(default=None, ge=16)
    """Longer records are rejected; None: 1 MB, for language models 64 MB."""
    max_rejected: float = Field(default=0.5, ge=0.0, le=1.0)
    """A sitting that rejects a greater share of its records ends as an error; what it learned is kept."""
    encoding: str | None = None
    """Of text files; None: UTF-8, or what a byte order mark says."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """Between cells of CSV and TSV files; None: what the suffix and the header say."""
    documents: Literal["blank-lines", "file", "lines"] = "blank-lines"
    """What a document is in a plain text that a language model reads."""
    piece_bytes: int = Field(default=16_384, ge=64)
    """Longer documents come to a language model, and into the journal, in pieces of at most so many bytes."""
    order: Literal["as-is", "shuffled", "by-class", "by-domain", "by-time"] = "as-is"
    experiences: int = Field(default=1, ge=1, le=100_000)
    batch_size: int = Field(default=256, ge=1, le=1_000_000)
    """Examples that are predicted, then learned, in one step; new runs that train by gradients: 32, those of
    language models: 4."""
    delay: int = Field(default=0, ge=0, le=10_000_000)
    """Examples that pass between the prediction of an example and the arrival of its target."""


class ClosedFormSettings(_Settings):
    """Sizes of the closed-form learner; None: the learner's own default, or what the budget allows."""

    num_features: int | None = Field(default=None, ge=1)
    gram_bits: int | None = Field(default=None, ge=1, le=30)
    max_classes: int | None = Field(default=None, ge=1)
    sample_size: int | None = Field(default=None, ge=1)
    outlier_quantile: float | None = Field(default=None, gt=0.0, lt=1.0)
    refresh_growth: float | None = Field(default=None, gt=1.0)
    """A solve at full size is made again when the examples have grown by this factor."""


class GradientSettings(_Settings):
    """Optimization of the gradient learner; None: the learner's own default."""

    optimizer: Literal["sgd", "momentum", "adagrad", "adamw"] | None = None
    learning_rate: float | None = Field(default=None, gt=0.0)
    head_learning_rate: float | None = Field(default=None, gt=0.0)
    momentum: float | None = Field(default=None, ge=0.0, lt=1.0)
    weight_decay: float | None = Field(default=None, ge=0.0)
    schedule: Literal["constant", "linear", "cosine", "inverse-sqrt"] | None = None
    warmup_steps: int | None = Field(default=None, ge=0)
    total_steps: int | None = Field(default=None, ge=1)
    max_gradient_norm: float | None = Field(default=None, ge=0.0)
    """Gradients are scaled to at most this norm; 0: no clipping."""
    trainable: str | None = Field(default=None, min_length=1)
    """``all, head, embeddings, encoder, decoder, layers:K-N, lora`` or ``lora:K-N``."""
    lora_rank: int | None = Field(default=None, ge=1)
    lora_alpha: int | None = Field(default=None, ge=1)
    max_classes: int | None = Field(default=None, ge=1)
    replay: int = Field(default=0, ge=0)
    """Examples (of language models: pieces of documents) that the replay memory holds; 0: no replay."""
    replayed: int | None = Field(default=None, ge=1)
    """Examples replayed in every step; None: as many as a batch has."""
    replay_share: float | None = Field(default=None, gt=0.0)
    """Replayed tokens to each fresh one; None: ``replayed`` counts, for language models 0.5."""
    methods: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Further continual-learning methods by name, each with its settings."""
    average_decay: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Decay a step of the averaged weights that predictions are made with; None: the newest weights."""
    spike_deviations: float | None = Field(default=None, gt=0.0)
    """A step whose loss is so many standard deviations above the usual is left out; None: none is."""


class LanguageSettings(_Settings):
    """How a language model reads documents; None: the learner's own default."""

    lanes: int | None = Field(default=None, ge=1, le=4_096)
    """Documents that are read side by side."""
    chunk_length: int | None = Field(default=None, ge=2)
    """Tokens of a document that are read at once."""
    tokens_per_step: int | None = Field(default=None, ge=1)
    """Fresh tokens of an optimizer step."""
    carry: Literal["auto", "attention", "recurrent", "none"] | None = None
    """What is carried from chunk to chunk."""
    window: int | None = Field(default=None, ge=0)
    """Tokens before a chunk that it can attend to; 0: all of the document's."""
    sinks: int | None = Field(default=None, ge=0)
    """First tokens of a document that every chunk can attend to."""
    gradient_chunks: int | None = Field(default=None, ge=0)
    """Earlier chunks that gradients flow into."""
    gradient_checkpointing: bool = False


class VocabularySettings(_Settings):
    """Whether the vocabulary of a language model grows with its stream; None: the learner's own default."""

    words: int | None = Field(default=None, ge=0)
    """Words that are added at most; 0: the vocabulary does not grow."""
    min_count: int | None = Field(default=None, ge=1)
    """Times that a word must have come to be added."""
    watch_bytes: int | None = Field(default=None, ge=1)
    """Bytes of text that are watched before words are added."""
    row_learning_rate: float | None = Field(default=None, gt=0.0)
    """Of the rows of new words in embedding and head."""
    alone_steps: int | None = Field(default=None, ge=0)
    """First steps with the new words, in which nothing but their rows is trained."""
    row_passes: int | None = Field(default=None, ge=0)
    """Passes over what was watched in which new words learn to mean what their pieces meant."""


class TranslationSettings(_Settings):
    """How an encoder-decoder reads and writes; None: the learner's own default."""

    max_source_length: int | None = Field(default=None, ge=1)
    max_target_length: int | None = Field(default=None, ge=1)
    source_language: str | None = Field(default=None, min_length=1)
    """Code of the sources' language, where the model's tokenizer marks languages."""
    target_language: str | None = Field(default=None, min_length=1)
    beams: int | None = Field(default=None, ge=1, le=64)
    label_smoothing: float | None = Field(default=None, ge=0.0, lt=1.0)
    bleu_tokenizer: str = "13a"
    """sacrebleu's tokenizer for BLEU: 13a, zh, ja-mecab, char, …"""


class LearnerSettings(_Settings):
    """Which learner, and its sizes."""

    kind: Literal["closed-form", "gradient"] = "closed-form"
    """Of a classifier; language models and encoder-decoders are always trained by gradients."""
    memory_budget: int | None = Field(default=None, ge=1_000_000)
    """Bytes the closed-form learner may take; chooses the sizes that are not given."""
    closed_form: ClosedFormSettings = ClosedFormSettings()
    gradient: GradientSettings = GradientSettings()
    language: LanguageSettings = LanguageSettings()
    vocabulary: VocabularySettings = VocabularySettings()
    translation: TranslationSettings = TranslationSettings()


class RunSettings(_Settings):
    """What does not change the result: saving, threads."""

    checkpoint_seconds: float = Field(default=60.0, ge=0.0)
    keep_checkpoints: int = Field(default=2, ge=1)
    """The newest checkpoints that are kept beside those of versions."""
    keep_hourly: int = Field(default=0, ge=0)
    """Further checkpoints that are kept: the newest of each of so many past hours."""
    keep_versions: int = Field(default=10, ge=1)
    """Versions whose state is kept, so that they can be served again."""
    keep_text: bool | None = None
    """Whether the journal keeps the texts; None: the gradient learner does, which cannot fold without. Where
    it is not to, it keeps them until a checkpoint holds what was learned from them. Those that a guard
    examines on stay: ``guard.recent`` and ``guard.long_term``, and those of the present interval."""
    text_days: float | None = Field(default=None, ge=0.0)
    """Kept texts are dropped after so many days, their codes kept; None: never. See ``keep_text`` for those
    that stay with a guard."""
    threads: int | None = Field(default=None, ge=1, le=1_024)
    """Processor threads for encoding and learning; None: what torch chooses."""
    rolling_window: int = Field(default=1_000, ge=1)
    """Examples over which rolling scores are taken."""


class GuardSettings(_Settings):
    """What decides whether a candidate is served."""

    enabled: bool = False
    share: float = Field(default=0.05, gt=0.0, lt=1.0)
    """Share of the stream that is held back, never learned, to examine candidates on."""
    every: int = Field(default=10_000, ge=1)
    """A candidate is examined after so many examples; new runs of language models: 1,000."""
    seconds: float | None = Field(default=None, gt=0.0)
    """And after so many seconds."""
    tolerance: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Drop in accuracy, 0 to 1, that is not held against a candidate; of texts the relative rise of a loss
    (new runs: 0.02)."""
    level: float = Field(default=0.01, gt=0.0, lt=1.0)
    """A candidate is rejected where a drop as large as its own is less probable than this."""
    test: Literal["mcnemar", "bootstrap"] = "mcnemar"
    recent: int = Field(default=1_000, ge=1)
    """Examples of the exam on the most recent past; new runs of language models: 100 documents."""
    long_term: int = Field(default=2_000, ge=1)
    """Examples of the exam on everything so far, balanced over classes and domains; new runs of language
    models: 200 documents."""
    surprise: bool = True
    """Also reject what contradicts the learner far more often than usual, and teaches nothing."""
    suspicious: Literal["flag", "weigh", "hold", "off"] = "flag"
    """What is done with an example that contradicts a confident prediction, or is extremely unusual."""
    confidence: float = Field(default=0.9, gt=0.0, le=1.0)
    """From this probability on a prediction is confident."""
    leverage: float | None = Field(default=None, gt=0.0)
    """An outlier score from which on an example is suspicious too; None: none is."""
    weight: float = Field(default=0.25, ge=0.0, le=1.0)
    """With ``weigh``: the share of suspicious examples that is learned, chosen by the hash of the id."""
    readmit: bool = True
    """Learn what was set aside after all, once a later accepted version agrees with it."""


class RunConfig(_Settings):
    """All settings of a run.

    >>> config = RunConfig().with_settings({"model.max_length": 64})
    >>> config.model.max_length
    64
    >>> RunConfig.from_yaml(config.to_yaml()) == config
    True
    """

    task: TaskName = "classify"
    """Labels for texts; the next token of documents; a text for a text."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    model: ModelSettings = ModelSettings()
    stream: StreamSettings = StreamSettings()
    learner: LearnerSettings = LearnerSettings()
    guard: GuardSettings = GuardSettings()
    run: RunSettings = RunSettings()

    @property
    def model_name(self) -> str:
        """The model, the task's own where none is named.

        Raises:
            ConfigError: None is named, and the task has none of its own.
        """
        if self.model.name is not None:
            return self.model.name
        if self.task == "seq2seq":
            raise ConfigError(
                "model.name: no encoder-decoder comes with everlearn; name a folder or a hub name of one"
            )
        return "minilm" if self.task == "classify" else "smollm2"

    @classmethod
    def from_mapping(cls, values: Any, *, place: str = "settings") -> RunConfig:
        """Validate a nested mapping.

        Raises:
            ConfigError: Names ``place`` and every wrong or unknown setting with its value.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"{place}: expected settings by name, found {type(values).__name__}")
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(f"{place}: {'; '.join(_problems(error))}") from None

    @classmethod
    def from_yaml(cls, text: str, *, place: str = "settings") -> RunConfig:
        """Read YAML text. Raises ConfigError as :meth:`from_mapping` does."""
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{place}: not YAML: {error}") from None
        return cls.from_mapping({} if values is None else values, place=place)

    @classmethod
    def from_file(cls, path: Path) -> RunConfig:
        """Read a YAML file. Raises ConfigFileError where it cannot be read or is wrong."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigFileError(f"{path}: cannot read the settings: {error}") from None
        try:
            return cls.from_yaml(text, place=str(path))
        except ConfigError as error:
            raise ConfigFileError(str(error)) from None

    def to_mapping(self) -> dict[str, Any]:
        """All settings as nested JSON values."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """All settings as YAML, in the order of the tree."""
        text: str = yaml.safe_dump(self.to_mapping(), sort_keys=False, allow_unicode=True)
        return text

    def with_settings(self, settings: Mapping[str, Any], *, place: str = "settings") -> RunConfig:
        """Another configuration in which the dotted ``settings`` have these values.

        Raises:
            ConfigError: As :meth:`from_mapping`.
        """
        tree = self.to_mapping()
        for path, value in settings.items():
            *sections, name = path.split(".")
            section = tree
            for part in sections:
                section = section.setdefault(part, {})
                if not isinstance(section, dict):
                    raise ConfigError(f"{place}: no such setting: {path}")
            section[name] = value
        return RunConfig.from_mapping(tree, place=place)


_WHOLE = frozenset({"learner.gradient.methods"})
"""Settings that are mappings themselves: what is in them has names of its own."""


def flatten_settings(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as (dotted path, value), in order.

    >>> dict(flatten_settings({"seed": 1, "model": {"name": "minilm"}}))
    {'seed': 1, 'model.name': 'minilm'}
    """
    for name, value in values.items():
        if isinstance(value, Mapping) and f"{prefix}{name}" not in _WHOLE:
            yield from flatten_settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _problems(error: ValidationError) -> Iterator[str]:
    for item in error.errors(include_url=False):
        path = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            yield f"unknown setting {path}"
        else:
            message = item["msg"][0].lower() + item["msg"][1:]
            yield f"{path} = {item['input']!r}: {message}"
