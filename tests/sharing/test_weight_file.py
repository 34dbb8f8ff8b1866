"""Files of weights: what is written is what is mapped, nobody sees what another writes, damage is told."""

from __future__ import annotations

import fcntl
import gc
import hashlib
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from everlearn.errors import StateError
from everlearn.sharing.weight_file import map_weights, write_weights

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int8, torch.bool]


def written(path: Path, tensors: dict[str, torch.Tensor], about: dict[str, Any] | None = None) -> str:
    with path.open("wb") as file:
        return write_weights(file, tensors, about or {})


@given(
    shapes=st.lists(
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=3)), min_size=0, max_size=6
    )
)
def test_what_was_written_is_mapped(
    shapes: list[tuple[torch.dtype, list[int]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("weights") / "some.weights"
    generator = torch.Generator().manual_seed(len(shapes))
    tensors = {
        f"part.{k}": torch.randint(-5, 5, shape, generator=generator).to(dtype)
        for k, (dtype, shape) in enumerate(shapes)
    }
    digest = written(path, tensors, {"layers": 3})
    assert digest == hashlib.sha256(path.read_bytes()[:-32]).hexdigest()
    mapped = map_weights(path)
    assert mapped.sha256 == digest
    assert mapped.verify()
    assert mapped.about == {"layers": 3}
    assert mapped.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        found = mapped.tensors[name]
        assert found.dtype == tensor.dtype
        assert torch.equal(found, tensor)
        assert not found.numel() or found.data_ptr() % 64 == 0


def test_one_tensor_of_two_names_is_one(tmp_path: Path) -> None:
    table = torch.arange(3000.0).view(30, 100)
    written(tmp_path / "tied", {"embedding": table, "head": table, "turned": table.T})
    mapped = map_weights(tmp_path / "tied")
    assert mapped.tensors["embedding"].data_ptr() == mapped.tensors["head"].data_ptr()
    assert torch.equal(mapped.tensors["turned"], table.T)
    assert mapped.num_bytes < 3 * table.nbytes


def test_what_one_writes_no_other_sees(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    written(path, {"a": torch.ones(5000)})
    before = path.read_bytes()
    one, other = map_weights(path), map_weights(path)
    one.tensors["a"].mul_(3)
    assert float(one.tensors["a"][7]) == 3
    assert float(other.tensors["a"][7]) == 1
    assert path.read_bytes() == before


def test_a_mapped_file_is_in_use_until_the_last_tensor_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    written(path, {"a": torch.ones(5), "b": torch.ones(5)})
    part = map_weights(path).tensors["a"][2:]
    gc.collect()
    with path.open("rb") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        del part
        gc.collect()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _hold(path: Path, ready: Any) -> None:
    held = map_weights(path)
    ready.set()
    multiprocessing.Event().wait()
    assert held


def test_a_process_that_is_killed_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    written(path, {"a": torch.ones(5)})
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(path, ready))
    holder.start()
    assert ready.wait(60)
    with path.open("rb") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder.kill()
        holder.join()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _cut(whole: bytes) -> bytes:
    return whole[:-1]


def _longer(whole: bytes) -> bytes:
    return whole + b"\0"


def _short(whole: bytes) -> bytes:
    return whole[:9]


def _other_magic(whole: bytes) -> bytes:
    return b"X" + whole[1:]


def _no_json(whole: bytes) -> bytes:
    return whole[:16] + b"{" * 20 + whole[36:]


def _huge_header(whole: bytes) -> bytes:
    return whole[:8] + (1 << 40).to_bytes(8, "little") + whole[16:]


def _unknown_format(whole: bytes) -> bytes:
    return whole.replace(b'"float32"', b'"float31"')


def _out_of_bounds(whole: bytes) -> bytes:
    return whole.replace(b'"shape": [500]', b'"shape": [999]')


@pytest.mark.parametrize(
    "damage",
    [_cut, _longer, _short, _other_magic, _no_json, _huge_header, _unknown_format, _out_of_bounds],
)
def test_damage_is_told(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "weights"
    written(path, {"a": torch.ones(500)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StateError, match=r"weights.*delete it, and it is made anew"):
        map_weights(path)


@pytest.mark.parametrize("place", [-1, -40, 20])
def test_a_change_of_one_bit_is_found(tmp_path: Path, place: int) -> None:
    path = tmp_path / "weights"
    written(path, {"a": torch.ones(500)}, {"note": "x" * 20})
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"xxx") if place == 20 else place] ^= 1
    path.write_bytes(whole)
    assert not map_weights(path).verify()


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="b is of complex64"):
        written(tmp_path / "weights", {"b": torch.ones(3, dtype=torch.complex64)})
