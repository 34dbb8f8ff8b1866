"""Whether a written model is the one it was written from: read by plain transformers or peft, asked anew.

B: rows of tokens, L: tokens of a row, V: vocabulary.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from everlearn.errors import ModelError
from everlearn.models.storage.merged_weights import bare_model
from everlearn.models.storage.quiet import quiet_transformers

__all__ = ["check_adapter", "check_full", "check_rounded"]

_ROWS, _LENGTH = 4, 24
# Products in another order differ by less, of the largest logit; what is missing or drawn anew by far more.
_TOLERANCE = 1e-3
# A router may choose another expert of two that are all but equal, at a few tokens.
_SHARE = 0.9
_PREFIX = "base_model.model."


def check_full(folder: Path, model: Any) -> float:
    """Compare a saved model with what it was saved from, in float32.

    Args:
        folder: As transformers' ``save_pretrained`` leaves it.
        model: The live model in float32, with its adapters and the rows of new tokens.

    Returns:
        The largest difference of two logits.

    Raises:
        ModelError: The saved one cannot be loaded, lacks weights, or gives other logits; says what differs.
    """
    saved = _loaded(folder, model)
    return _compare(model, saved, "the written model")


def check_adapter(folder: Path, model: Any, base: str, *, is_rounded: bool = False) -> float:
    """Compare a saved adapter, put on its base by peft, with the model that it was taken from, in float32.

    Args:
        folder: As peft's ``save_pretrained`` leaves it.
        model: The live model.
        base: Folder or name of the model without the adapter.
        is_rounded: The adapter was rounded; what that changes is no error.

    Returns:
        The largest difference of two logits.

    Raises:
        ModelError: As of ``check_full``.
    """
    from peft import PeftModel

    saved = _loaded(base, model)
    with _quiet(), _named_failure("the written adapter"):
        _round_alike(saved, bare_model(model))
        saved = PeftModel.from_pretrained(saved, str(folder)).to(_device_of(model)).eval()
    return _compare(model, saved, "the written adapter", tolerance=math.inf if is_rounded else _TOLERANCE)


def check_rounded(folder: Path, expected: Mapping[str, Tensor], model: Any) -> float:
    """Compare a saved model of a coarser number format, weight by weight, with what was to be written.

    Args:
        folder: As transformers' ``save_pretrained`` leaves it.
        expected: The rounded weights under the names of the model's class.
        model: The live model.

    Returns:
        The largest difference of two logits, computed in float32, which is the price of the format.

    Raises:
        ModelError: A weight differs, or the saved model cannot be loaded.
    """
    saved = _loaded(folder, model)
    found = saved.state_dict()
    for name, tensor in expected.items():
        written = found.get(name)
        if written is None or not torch.equal(written.cpu(), tensor.to(written.dtype).cpu()):
            raise ModelError(f"the written model is another than the run's: {name} differs")
    inputs = _inputs(model)
    return float(_difference(_logits(model, inputs), _logits(saved, inputs)).max())


def _loaded(folder: Path | str, model: Any) -> Any:
    """A saved model, read as anybody would read it."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    of_pairs = bare_model(model).config.is_encoder_decoder
    auto_model: Any = AutoModelForSeq2SeqLM if of_pairs else AutoModelForCausalLM
    with _quiet(), _named_failure("the written model"):
        saved, loading = auto_model.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    lacking = sorted(str(key) for name in ("missing_keys", "mismatched_keys") for key in loading[name])
    if lacking:
        raise ModelError(
            f"the written model lacks {len(lacking)} parts, first {lacking[0]}: transformers would draw them "
            "at random"
        )
    return saved.to(_device_of(model)).eval()


def _compare(model: Any, saved: Any, what: str, tolerance: float = _TOLERANCE) -> float:
    inputs = _inputs(model)
    expected = _logits(model, inputs)
    difference_BL = _difference(expected, _logits(saved, inputs)).amax(dim=-1)
    largest = float(difference_BL.max())
    allowed = tolerance * max(1.0, float(expected.nan_to_num(0.0, 0.0, 0.0).abs().max()))
    if float((difference_BL <= allowed).float().mean()) < _SHARE:
        place = _first_difference(model, saved, inputs)
        raise ModelError(
            f"{what} is another than the run's: logits differ by up to {largest:.3g}"
            + (f", first behind {place}" if place else "")
        )
    return largest


def _inputs(model: Any) -> dict[str, Tensor]:
    """Random tokens, and the last ones of the vocabulary, which may have been added."""
    config = bare_model(model).config
    vocabulary = _vocabulary(config)
    generator = torch.Generator().manual_seed(0)
    ids_BL = torch.randint(0, vocabulary, (_ROWS, _LENGTH), generator=generator)
    newest_L = torch.arange(max(0, vocabulary - _LENGTH), vocabulary)
    ids_BL[-1, : len(newest_L)] = newest_L
    ids_BL = ids_BL.to(_device_of(model))
    if config.is_encoder_decoder:
        return {"input_ids": ids_BL, "decoder_input_ids": ids_BL.flip(0)}
    return {"input_ids": ids_BL}


def _vocabulary(config: Any) -> int:
    """Token ids that both sides of a model know."""
    parts = [config, *(getattr(config, name, None) for name in ("encoder", "decoder"))]
    parts += [config.get_text_config(decoder=decoder) for decoder in (False, True)]
    sizes = [getattr(part, name, None) for part in parts for name in ("vocab_size", "decoder_vocab_size")]
    return min(size for size in sizes if isinstance(size, int))


def _logits(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    with torch.inference_mode(), _quiet(), _in_float32(model):
        logits: Tensor = model(**inputs, use_cache=False).logits
    return logits.float()


def _difference(left: Tensor, right: Tensor) -> Tensor:
    """|left - right|; what is infinite or no number in both does not differ."""
    if left.shape != right.shape:
        return torch.full_like(left, float("inf"))
    alike = (left == right) | (left.isnan() & right.isnan())
    return torch.where(alike, 0.0, (left - right).abs().nan_to_num(float("inf")))


def _first_difference(model: Any, saved: Any, inputs: Mapping[str, Tensor]) -> str | None:
    """The name of the first module, in the order of computation, that gives something else."""
    expected, found = _outputs(model, inputs), _outputs(saved, inputs)
    for name, output in found.items():
        other = expected.get(name)
        if other is None or other.shape != output.shape:
            continue
        scale = max(1e-6, float(other.nan_to_num(0.0, 0.0, 0.0).abs().max()))
        if float(_difference(other, output).max()) > _TOLERANCE * scale:
            return name
    return None


def _outputs(model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            if isinstance(first, Tensor) and first.is_floating_point():
                outputs.setdefault(name, first.detach().float())

        return hook

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if name and "lora_" not in name and "base_layer" not in name:
                handle = module.register_forward_hook(keep(name.removeprefix(_PREFIX)))
                stack.callback(handle.remove)
        _logits(model, inputs)
    return outputs


def _round_alike(base: Any, live: Any) -> None:
    """Round the weights of a base as the live model has, which is no fault of the adapter."""
    formats = {name.replace(".base_layer", ""): weight.dtype for name, weight in live.named_parameters()}
    for name, parameter in base.named_parameters():
        wanted = formats.get(name, parameter.dtype)
        if wanted != parameter.dtype:
            parameter.data = parameter.data.to(wanted).to(parameter.dtype)


@contextmanager
def _in_float32(model: Any) -> Iterator[None]:
    """A model with the same weights in a finer number format, for the time of the block."""
    coarse = [
        (tensor, tensor.data)
        for tensor in (*model.parameters(), *model.buffers())
        if tensor.is_floating_point() and tensor.dtype.itemsize < 4
    ]
    try:
        for tensor, data in coarse:
            tensor.data = data.float()
        yield
    finally:
        for tensor, data in coarse:
            tensor.data = data


def _device_of(model: Any) -> torch.device:
    device: torch.device = next(model.parameters()).device
    return device


@contextmanager
def _quiet() -> Iterator[None]:
    """What others say while they read concerns their callers, not who exports."""
    with warnings.catch_warnings(), quiet_transformers():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _named_failure(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # transformers and peft raise whatever their readers raise
        first_line = str(error).strip().splitlines()[:1] or [""]
        raise ModelError(f"{what} cannot be read: {type(error).__name__}: {first_line[0]}") from error
