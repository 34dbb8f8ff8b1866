"""Tying and healing an encoder: it comes nearer, and an interruption changes nothing."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.tiny_models import byte_level_tokenizer
from tests.runtime.word_pairs import write_encoder
from transformers import LlamaConfig, LlamaForCausalLM

from everlearn.errors import ConfigError, InputError, ModelError, RunError, StateError, StorageError
from everlearn.learning.tying.healing import Healing, HealingConfig
from everlearn.models import load_trunk
from everlearn.models.encoder.load import Trunk
from everlearn.models.language.causal import LanguageModel, load_language_model
from everlearn.models.storage.saving import save_model
from everlearn.models.tying.structure import Tying
from everlearn.models.tying.tie import tied
from everlearn.runtime.commands.tie import TieRequest, tie_model
from everlearn.runtime.interruption import StopFlag
from everlearn.runtime.listener import Progress, SilentListener
from everlearn.runtime.run import Run
from everlearn.types import Example


class StopsAfter(SilentListener):
    """Asks to stop after so many steps."""

    def __init__(self, flag: StopFlag, num_steps: int) -> None:
        self._flag, self._num_steps = flag, num_steps

    def progress(self, progress: Progress) -> None:
        self._flag.requested = progress.examples >= self._num_steps


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("tie") / "encoder")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    lines = (" ".join(f"w{draw.randrange(60)}" for _ in range(draw.randint(2, 12))) for _ in range(700))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def request_(encoder: Path, texts: Path, tmp_path: Path) -> TieRequest:
    return TieRequest(
        model=str(encoder),
        out=tmp_path / "tied",
        unique=1,
        rank=2,
        stream=str(texts),
        steps=30,
        batch_size=16,
        learning_rate=3e-3,
    )


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_trunk(str(folder), dtype="float32").model.named_parameters())


def test_healing_brings_it_nearer_and_goes_on_to_the_bit(encoder: Path) -> None:
    trunk = load_trunk(str(encoder), dtype="float32")
    draw = random.Random(1)
    batches = [[f"w{draw.randrange(60)} w{draw.randrange(60)} left1" for _ in range(16)] for _ in range(20)]

    def fresh() -> Healing:
        made = tied(trunk.model, Tying.even(2, 1, 2))
        return Healing(trunk, made, HealingConfig(num_steps=20, learning_rate=3e-3))

    undisturbed, first, second = fresh(), fresh(), fresh()
    before = undisturbed.closeness(batches[-1]).distance
    losses = [undisturbed.step(batch) for batch in batches]
    assert undisturbed.closeness(batches[-1]).distance < 0.6 * before
    resumed = [first.step(batch) for batch in batches[:9]]
    second.restore(first.state())
    resumed += [second.step(batch) for batch in batches[9:]]
    assert resumed == losses
    for one, other in zip(undisturbed.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_numbers_that_are_none_are_told(encoder: Path) -> None:
    trunk = load_trunk(str(encoder), dtype="float32")
    made = tied(trunk.model, Tying.even(2, 1, 0))
    healing = Healing(trunk, made, HealingConfig(num_steps=5))
    healing.step(["w1 w2"])
    with torch.no_grad():
        made.encoder.layer[1].output.dense.bias[3] = float("nan")
    with pytest.raises(ModelError, match=r"diverged at step 2: .* lower rate"):
        healing.step(["w1 w2"])


def test_of_full_rank_there_is_nothing_to_heal(encoder: Path) -> None:
    trunk = load_trunk(str(encoder), dtype="float32")
    healing = Healing(trunk, tied(trunk.model, Tying.even(2, 1, 32)), HealingConfig(num_steps=1))
    assert healing.closeness(["w1 w2", "w3"]).distance < 1e-8


def test_the_result_is_an_encoder_and_an_interruption_changes_nothing(
    request_: TieRequest, tmp_path: Path
) -> None:
    whole = tie_model(request_)
    assert whole.is_done
    assert whole.loss_before is not None
    assert whole.loss_after is not None
    assert whole.loss_after < 0.8 * whole.loss_before
    assert whole.share < 0.7
    other = replace(request_, out=tmp_path / "interrupted")
    for num_steps in (7, 19):
        flag = StopFlag()
        outcome = tie_model(other, listener=StopsAfter(flag, num_steps), stop=flag)
        assert (outcome.is_done, outcome.steps) == (False, num_steps)
        with pytest.raises(ModelError, match="it is not finished"):
            load_trunk(str(other.out))
    again = tie_model(other)
    assert (again.is_done, again.loss_before, again.loss_after) == (True, whole.loss_before, whole.loss_after)
    mine, its = weights_of(request_.out), weights_of(other.out)
    assert mine.keys() == its.keys()
    assert all(torch.equal(mine[name], its[name]) for name in mine)
    assert not list(request_.out.glob("tying.*"))
    with Run.open(tmp_path / "run", {"model.name": str(request_.out)}) as run:
        run.learn([Example(id=str(k), text=f"w{k} left{k % 2}", target=f"t{k % 2}") for k in range(20)])
        assert run.predict(["w3 left1"])[0].label == "t1"


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small language model that has no token to fill up with."""
    folder = tmp_path_factory.mktemp("writer") / "llama"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return folder


def test_a_language_model_writes_nearly_as_before(request_: TieRequest, writer: Path) -> None:
    request = replace(request_, model=str(writer), unique=2, rank=2, steps=40, learning_rate=5e-3)
    outcome = tie_model(request)
    assert outcome.loss_before is not None
    assert outcome.loss_after is not None
    assert outcome.loss_after < 0.6 * outcome.loss_before
    assert outcome.bits_per_byte is not None
    original, tied_ = outcome.bits_per_byte
    loaded = load_language_model(str(request.out), dtype="float32")
    assert loaded.tokenizer.pad_token_id is None
    # The same by another way: text by text, without filling up.
    assert request.stream is not None
    texts = Path(request.stream).read_text().splitlines()[:64]
    expected = [
        bits_per_byte(model, texts) for model in (load_language_model(str(writer), dtype="float32"), loaded)
    ]
    assert [original, tied_] == pytest.approx(expected, rel=1e-4)
    stop = StopFlag()
    stopped = tie_model(
        replace(request, out=request.out.with_name("again")), listener=StopsAfter(stop, 15), stop=stop
    )
    assert not stopped.is_done
    tie_model(replace(request, out=request.out.with_name("again")))
    again = load_language_model(str(request.out.with_name("again")), dtype="float32")
    for one, other in zip(loaded.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_tied_language_model_reads_as_an_encoder_and_is_not_exported(
    request_: TieRequest, writer: Path, tmp_path: Path
) -> None:
    outcome = tie_model(replace(request_, model=str(writer), unique=2, rank=64, stream=None, steps=1))
    assert "Nothing was healed" in outcome.notes[0]
    found, expected = (
        load_trunk(str(folder), dtype="float32").model(input_ids=torch.arange(3, 30)[None])[0]
        for folder in (request_.out, writer)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    language = load_language_model(str(request_.out), dtype="float32")
    with pytest.raises(ModelError, match=r"share weights .* which other programs cannot read"):
        save_model(tmp_path / "exported", language.model, language.tokenizer)
    assert not (tmp_path / "exported").exists()


def test_what_is_not_finished_or_done_already_is_told(request_: TieRequest) -> None:
    stop = StopFlag()
    tie_model(request_, listener=StopsAfter(stop, 5), stop=stop)
    with pytest.raises(ModelError, match="it is not finished; the everlearn tie command that began it"):
        load_trunk(str(request_.out))
    with pytest.raises(ConfigError, match="another tying goes on, with steps 30 and not 40"):
        tie_model(replace(request_, steps=40))
    tie_model(request_)
    with pytest.raises(RunError, match="holds a model already"):
        tie_model(request_)
    request_.out.with_name("file").write_text("text")
    with pytest.raises(RunError, match="exists and is not a folder"):
        tie_model(replace(request_, out=request_.out.with_name("file")))
    with pytest.raises(StorageError, match="cannot make the folder"):
        tie_model(replace(request_, out=Path("/proc/tied")))


def bits_per_byte(language: LanguageModel, texts: list[str]) -> float:
    bits, num_bytes = 0.0, 0
    for text in texts:
        ids = torch.tensor([language.tokenizer(text, truncation=True, max_length=64)["input_ids"]])
        with torch.inference_mode():
            logits = language.model(input_ids=ids).logits[0, :-1].double()
        bits -= float(logits.log_softmax(-1).gather(1, ids[0, 1:, None]).sum()) / math.log(2)
        num_bytes += len(language.tokenizer.decode(ids[0, 1:]).encode())
    return bits / num_bytes


def test_pooling_and_length_are_kept(encoder: Path, tmp_path: Path) -> None:
    trunk = load_trunk(str(encoder))
    done = tie_model(TieRequest(model=str(encoder), out=tmp_path / "tied", unique=1))
    assert (done.is_done, done.steps, done.loss_after) == (True, 0, None)
    made: Trunk = load_trunk(str(tmp_path / "tied"))
    assert (made.pooling, made.max_length, made.hidden_size) == ("mean", trunk.max_length, 32)


def test_what_is_wrong_is_told(request_: TieRequest, tmp_path: Path) -> None:
    def refused(kind: type[Exception], match: str, **changes: Any) -> None:
        with pytest.raises(kind, match=match):
            tie_model(replace(request_, **changes))

    refused(ConfigError, "unique must be from 1 to 2", unique=3)
    refused(ConfigError, "rank must be at least 0", rank=-1)
    refused(ConfigError, "learning_rate", learning_rate=0.0)
    refused(ConfigError, "steps must be", steps=0)
    refused(ModelError, "no such folder", model="./nowhere")
    few = tmp_path / "few.txt"
    few.write_text("one\ntwo\n")
    refused(InputError, "has 2 texts: 256 are held out", stream=str(few), out=tmp_path / "few")
    few.write_text("word\n" * 256)  # nothing would be left to learn
    refused(InputError, "has 256 texts", stream=str(few), out=tmp_path / "few")
    refused(InputError, "in place of standard input", stream="-", out=tmp_path / "few")
    refused(InputError, "nowhere", stream=str(tmp_path / "nowhere.txt"), out=tmp_path / "no")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    refused(RunError, "is not empty", out=tmp_path / "full")
    assert (tmp_path / "full" / "mine.txt").read_text() == "x"


def test_what_is_held_out_is_never_learned(request_: TieRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the stream is read more than once."""
    learned: list[str] = []
    step = Healing.step

    def noting(self: Healing, texts: list[str]) -> float:
        learned.extend(texts)
        return step(self, texts)

    monkeypatch.setattr(Healing, "step", noting)
    lines = [f"w{k % 60} w{k // 60} left{k % 2}" for k in range(300)]
    Path(str(request_.stream)).with_name("short.txt").write_text("\n".join(lines) + "\n")
    short = Path(str(request_.stream)).with_name("short.txt")
    tie_model(replace(request_, stream=str(short), steps=8))
    assert len(learned) == 8 * 16
    assert set(learned) == set(lines[256:])


def test_another_tying_and_damage_are_refused(request_: TieRequest) -> None:
    flag = StopFlag()
    tie_model(request_, listener=StopsAfter(flag, 5), stop=flag)
    with pytest.raises(ConfigError, match="another tying goes on, with rank 2 and not 1"):
        tie_model(replace(request_, rank=1))
    state = request_.out / "tying.safetensors"
    content = state.read_bytes()
    state.write_bytes(content[:1000])
    with pytest.raises(StateError, match="damaged"):
        tie_model(request_)
    state.write_bytes(content)
    record = request_.out / "tying.json"
    told = json.loads(record.read_text())
    record.write_text("{")
    with pytest.raises(StateError, match="damaged"):
        tie_model(request_)
    record.write_text(json.dumps(told))
    assert tie_model(request_).is_done
