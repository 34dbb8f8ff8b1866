"""A smaller vocabulary: tokens that a stream never uses lose their rows.

Kept are, beside the tokens asked for, special and added tokens, everything of one character (in byte-level
tokenizers: of one byte) and what tokens are built over. So every text that could be written before can be
written after, and a text of which all tokens are kept is tokenised as before.

* BPE: a merge stays if its result does. With a token the intermediate results of its own merges are kept.
* WordPiece and Unigram: a token of which a character is no entry of its own is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from everlearn.errors import ConfigError, ModelError
from everlearn.models.vocabulary.tokenizer_file import TokenizerFile, rebuild_tokenizer

__all__ = ["Pruning", "prune"]


@dataclass(frozen=True, slots=True, eq=False)
class Pruning:
    """What a pruning changed.

    Attributes:
        tokenizer: The tokenizer with fewer tokens; the old one is unchanged.
        new_ids: New id by old id, of the tokens kept; ascending.
        num_removed: Rows that are gone, rows without token among them.
    """

    tokenizer: Any
    new_ids: Mapping[int, int]
    num_removed: int


def prune(model: Any, tokenizer: Any, keep_ids: Collection[int]) -> Pruning:
    """Drop all tokens but some, and their rows of the model, the model in place.

    The ids in the model's settings (padding, begin and end of text) follow. Kept rows are unchanged to the
    bit.

    Args:
        model: A transformers model: causal, encoder or encoder-decoder.
        tokenizer: Its fast tokenizer (BPE, WordPiece or Unigram).
        keep_ids: Tokens to keep, for example those that occur in the stream.

    Raises:
        ConfigError: An id that the tokenizer does not have.
        ModelError: The tokenizer or the embedding is of a kind that cannot change.
    """
    file = TokenizerFile.read(tokenizer)
    token_of = {id_: token for token, id_ in file.ids.items()}
    unknown = sorted(set(keep_ids) - token_of.keys())
    if unknown:
        raise ConfigError(f"keep_ids: the tokenizer has no token of id {unknown[0]}")
    kept = _closure(file, {token_of[id_] for id_ in keep_ids})
    new_ids = {old: new for new, old in enumerate(sorted(file.ids[token] for token in kept))}
    smaller = replace(
        file,
        spec=_with_ids(file.spec, new_ids),
        ids={token: new_ids[id_] for token, id_ in file.ids.items() if token in kept},
        merges=[(a, b) for a, b in file.merges if a in kept and b in kept and a + b in kept],
        scores={token: score for token, score in file.scores.items() if token in kept},
    )
    num_rows = model.get_input_embeddings().weight.shape[0]
    _keep_rows(model, list(new_ids))
    _renumber_settings(model, new_ids)
    return Pruning(rebuild_tokenizer(tokenizer, smaller.write()), new_ids, num_rows - len(new_ids))


def _closure(file: TokenizerFile, wanted: set[str]) -> set[str]:
    """The tokens to keep for the wanted ones."""
    model = file.spec["model"]
    always = {*file.added_tokens, model.get("unk_token")}
    if file.kind == "Unigram" and model.get("unk_id") is not None:
        always.add(next(token for token, id_ in file.ids.items() if id_ == model["unk_id"]))
    kept = (wanted | always) & file.ids.keys()
    prefix = model.get("continuing_subword_prefix") or ""
    singles = {token for token in file.ids if len(token.removeprefix(prefix) if prefix else token) == 1}
    # The bytes that a tokenizer falls back to.
    singles |= {token for token in file.ids if len(token) == 6 and token.startswith("<0x")}
    kept |= singles
    if file.kind == "BPE":
        ranks = {pair: rank for rank, pair in enumerate(file.merges)}
        for token in list(kept - singles):
            kept |= _built_over(token, ranks)
        return kept & file.ids.keys()
    return kept | {token for token in file.ids if not _is_spelled(token, prefix, singles)}


def _built_over(token: str, ranks: Mapping[tuple[str, str], int]) -> set[str]:
    """The results of the merges by which BPE arrives at a token."""
    pieces, results = list(token), set()
    while len(pieces) > 1:
        best = min(range(len(pieces) - 1), key=lambda k: ranks.get((pieces[k], pieces[k + 1]), len(ranks)))
        if (pieces[best], pieces[best + 1]) not in ranks:
            break
        pieces[best : best + 2] = [pieces[best] + pieces[best + 1]]
        results.add(pieces[best])
    return results


def _is_spelled(token: str, prefix: str, singles: set[str]) -> bool:
    if not prefix:
        return all(character in singles for character in token)
    continues = token.startswith(prefix) and len(token) > len(prefix)
    letters = token.removeprefix(prefix) if continues else token
    first = prefix + letters[0] if continues else letters[0]
    return first in singles and all(prefix + letter in singles for letter in letters[1:])


def _with_ids(spec: dict[str, Any], new_ids: Mapping[int, int]) -> dict[str, Any]:
    """The tokenizer's JSON with the ids outside its vocabulary renumbered."""
    added = [{**token, "id": new_ids[token["id"]]} for token in spec["added_tokens"]]
    changed = {**spec, "added_tokens": added, "post_processor": _processor(spec["post_processor"], new_ids)}
    if spec.get("padding"):
        changed["padding"] = {**spec["padding"], "pad_id": new_ids[spec["padding"]["pad_id"]]}
    if spec["model"].get("unk_id") is not None:
        changed["model"] = {**spec["model"], "unk_id": new_ids[spec["model"]["unk_id"]]}
    return changed


def _processor(processor: Any, new_ids: Mapping[int, int]) -> Any:
    match processor:
        case {"type": "Sequence", "processors": parts}:
            return {**processor, "processors": [_processor(part, new_ids) for part in parts]}
        case {"type": "TemplateProcessing", "special_tokens": tokens}:
            renumbered = {
                name: {**token, "ids": [new_ids[id_] for id_ in token["ids"]]}
                for name, token in tokens.items()
            }
            return {**processor, "special_tokens": renumbered}
        case {"sep": [sep, sep_id], "cls": [cls, cls_id]}:  # BERT's and RoBERTa's
            return {**processor, "sep": [sep, new_ids[sep_id]], "cls": [cls, new_ids[cls_id]]}
    return processor


@torch.no_grad()
def _keep_rows(model: Any, old_ids: list[int]) -> None:
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if not isinstance(embedding, nn.Embedding) or not (head is None or isinstance(head, nn.Linear)):
        kinds = f"{type(embedding).__name__} and {type(head).__name__}"
        raise ModelError(f"a plain embedding and head can be pruned, not {kinds}")
    rows = embedding.weight[old_ids]
    outputs = None if head is None else head.weight[old_ids]
    bias = None if head is None or head.bias is None else head.bias[old_ids]
    is_tied = head is not None and head.weight is embedding.weight
    padding = embedding.padding_idx
    # The module would shrink with a padding row that it may not have any more.
    embedding.padding_idx = None
    model.resize_token_embeddings(len(old_ids), mean_resizing=False)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    embedding.weight.copy_(rows)
    embedding.padding_idx = old_ids.index(padding) if padding in old_ids else None
    if head is not None and not is_tied:
        head.weight.copy_(outputs)
    if bias is not None:
        head.bias.copy_(bias)


def _renumber_settings(model: Any, new_ids: Mapping[int, int]) -> None:
    for settings in (model.config, getattr(model, "generation_config", None)):
        for name, value in list(vars(settings).items()) if settings is not None else []:
            if not name.endswith(("_token_id", "_token_ids", "suppress_tokens")):
                continue
            if isinstance(value, int) and value in new_ids:
                setattr(settings, name, new_ids[value])
            elif isinstance(value, list) and all(isinstance(token, int) for token in value):
                setattr(settings, name, [new_ids[token] for token in value if token in new_ids])
