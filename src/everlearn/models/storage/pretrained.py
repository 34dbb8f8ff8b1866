"""Loading a pretrained model that generates text, of either kind, with its tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from everlearn.errors import ModelError
from everlearn.models.storage.dtype import DeviceName, DtypeName, choose_device, choose_dtype
from everlearn.models.storage.folder import check_is_model, find_model_folder, weights_sha256
from everlearn.models.storage.model_folder import read_model
from everlearn.models.storage.quiet import loading

__all__ = ["KindName", "Pretrained", "load_pretrained", "max_length_of"]

KindName = Literal["causal", "seq2seq"]

# Tokenizers that know no limit say 10**30.
_NO_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Pretrained:
    """What was loaded; the attributes are those of ``LanguageModel`` and ``Seq2SeqModel``."""

    model: Any
    tokenizer: Any
    name: str
    sha256: str
    max_length: int | None


def load_pretrained(
    kind: KindName,
    spec: str,
    *,
    dtype: DtypeName,
    device: DeviceName,
    on_message: Callable[[str], None] | None = None,
) -> Pretrained:
    """Load a model that is known to be of a kind.

    Args:
        kind: "causal" or "seq2seq".
        spec: As of ``find_model_folder``.
        dtype: "auto" takes bfloat16 where the processor does it well.
        device: "auto" takes CUDA where there is a usable device.
        on_message: Is told before something that takes long.

    Raises:
        ModelError: The model cannot be found, is of another kind, or its files are damaged.
        ConfigError: An unknown dtype or device.
    """
    place = choose_device(device)
    number_format = choose_dtype(dtype, place)
    name, folder = find_model_folder(spec, on_message)
    check_is_model(spec, folder)
    sha256 = weights_sha256(folder)
    model, tokenizer = _load_parts(kind, spec, folder, number_format)
    return Pretrained(
        model=model.to(place).eval(),
        tokenizer=tokenizer,
        name=name,
        sha256=sha256,
        max_length=max_length_of(model.config, tokenizer),
    )


def max_length_of(config: Any, tokenizer: Any) -> int | None:
    """Tokens that a model was made for, as its configuration or else its tokenizer says; None: no limit."""
    text_config = config.get_text_config()
    for limit in (getattr(text_config, "max_position_embeddings", None), tokenizer.model_max_length):
        if isinstance(limit, int) and 0 < limit < _NO_LIMIT:
            return limit
    return None


def _load_parts(kind: KindName, spec: str, folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    auto_model: Any = AutoModelForCausalLM if kind == "causal" else AutoModelForSeq2SeqLM
    with loading(f"model {spec!r} cannot be loaded from {folder}"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        _check_kind(kind, spec, config)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, report = read_model(folder, auto_model, config, dtype)
    lacking = sorted([*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])])
    if lacking:
        raise ModelError(
            f"model {spec!r}: the weights in {folder} lack {len(lacking)} parts, first {lacking[0]}"
        )
    return model, tokenizer


def _check_kind(kind: KindName, spec: str, config: Any) -> None:
    from transformers.models.auto import modeling_auto

    tables: Any = modeling_auto
    causal = set(tables.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    masked = set(tables.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    found = config.model_type
    if config.is_encoder_decoder:
        if kind == "causal":
            raise ModelError(
                f"model {spec!r} is an encoder-decoder ({found}), not a causal language model; "
                "use it with --task seq2seq"
            )
        return
    # Encoders have a class for causal use too, but were trained to see both sides unless they say otherwise.
    is_encoder = found not in causal or (found in masked and not config.is_decoder)
    if is_encoder:
        wanted = "a causal language model" if kind == "causal" else "an encoder-decoder"
        raise ModelError(f"model {spec!r} ({found}) is not {wanted}: it cannot generate text")
    if kind == "seq2seq":
        raise ModelError(
            f"model {spec!r} is a causal language model ({found}), not an encoder-decoder; "
            "use it with --task lm"
        )
