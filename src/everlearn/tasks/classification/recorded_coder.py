"""A coder whose identity is known before its model is loaded, so that runs from codes never load it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

from everlearn.errors import RunError
from everlearn.models.encoder.coder import CoderConfig, TextCoder
from everlearn.models.encoder.pool import ModelPool
from everlearn.settings import ModelSettings
from everlearn.types import Code, Example, Json

__all__ = ["RecordedCoder", "load_text_coder"]

_TRUNK = "minilm"


class RecordedCoder:
    """Encodes texts by a coder that is loaded when the first text comes.

    Args:
        load: Loads the coder.
        fingerprint: Of the coder that made the codes so far.
        config: Its configuration.
        dense_size: Length of its codes' dense part.
        owner: What the fingerprint was recorded in; messages name it.
    """

    def __init__(
        self,
        load: Callable[[], TextCoder],
        *,
        fingerprint: str,
        config: dict[str, Json],
        dense_size: int,
        owner: str,
    ) -> None:
        self.fingerprint = fingerprint
        self.config = config
        self.dense_size = dense_size
        self.sketch_size = int(config.get("sketch_size", 0))
        # The first of the layers' equal parts.
        self.leading_size = (dense_size - self.sketch_size) // max(1, len(config.get("layers", ())))
        self._load = load
        self._owner = owner
        self._coder: TextCoder | None = None
        self._lock = Lock()  # a tokenizer works for one thread at a time

    @classmethod
    def loaded(cls, coder: TextCoder) -> RecordedCoder:
        """Around a coder that is loaded already."""
        recorded = cls(
            lambda: coder,
            fingerprint=coder.fingerprint,
            config=coder.config_json(),
            dense_size=coder.dense_size,
            owner="this run",
        )
        recorded._coder = coder
        return recorded

    def encode_examples(self, examples: Sequence[Example]) -> list[Code]:
        """One code an example, in order.

        Raises:
            InputError: An example has no text.
            RunError: The model that can be loaded here is not the one that made the codes so far.
            ModelError: The model cannot be loaded.
        """
        with self._lock:
            return self._text_coder().encode_examples(examples)

    def text_coder(self) -> TextCoder:
        """The coder itself, which is loaded now. Raises as ``encode_examples``."""
        with self._lock:
            return self._text_coder()

    def reading_problem(self, text: str) -> str | None:
        """Why a text cannot be read; None: it can. Raises as ``encode_examples``."""
        with self._lock:
            return self._text_coder().reading_problem(text)

    def _text_coder(self) -> TextCoder:
        if self._coder is None:
            coder = self._load()
            if coder.fingerprint != self.fingerprint:
                here = coder.config_json()
                differing = [
                    f"{name} {self.config.get(name)!r} there, {here.get(name)!r} here"
                    for name in sorted({*here, *self.config})
                    if here.get(name) != self.config.get(name)
                ]
                raise RunError(
                    f"{self._owner} was encoded by another model or other settings "
                    f"({'; '.join(differing) or 'same settings, other weights'}); install that model, or "
                    "encode the texts anew into a new folder"
                )
            self._coder = coder
        return self._coder


def load_text_coder(
    settings: ModelSettings,
    models: ModelPool,
    recorded: dict[str, Json] | None = None,
    adapter: Path | None = None,
) -> TextCoder:
    """Load the encoder that the settings name.

    Args:
        settings: The run's model settings.
        models: Gives the encoder.
        recorded: A recorded coder configuration; what it resolved (number format, layers, lengths) is
            taken over, so that another machine's defaults make the same codes.
        adapter: Folder of an adapter that texts are encoded with; None: that of the settings, if any.

    Raises:
        ModelError: The model cannot be found or loaded.
        ConfigError: A setting does not fit the model.
    """
    recorded = recorded or {}
    dtype = recorded.get("dtype", settings.dtype)
    layers = recorded.get("layers", settings.layers)
    config = CoderConfig(
        max_length=recorded.get("max_length", settings.max_length),
        windows=recorded.get("windows", settings.windows),
        layers=None if layers is None else tuple(layers),
        batch_invariant=recorded.get("batch_invariant", settings.batch_invariant),
        ngram_max=recorded.get("ngram_max", 2),
        # Earlier records do not name it: their codes have none.
        sketch_size=recorded.get("sketch_size", 0) if recorded else settings.sketch_size,
    )
    if adapter is None and settings.adapter is not None:
        adapter = Path(settings.adapter).expanduser()
    return models.coder(settings.name or _TRUNK, config, dtype=dtype, device=settings.device, adapter=adapter)
