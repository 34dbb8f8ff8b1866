"""Runs of language models: summary, interruption and crash to the bit, deletion, rollback, scores, export."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from tests.learning_language.conftest import byte_tokenizer
from tests.runtime.conftest import digest_of, status_of
from tests.runtime.text_runs import (
    Crash,
    corpus,
    crash_at_step,
    documents,
    language_settings,
    learn,
    write_jsonl,
    write_language_model,
)

from everlearn.errors import ConfigError, InputError, ModelError, RunError, StateError
from everlearn.learning.language import LanguageLearner
from everlearn.models.language.causal import load_language_model
from everlearn.runtime.commands.evaluate import evaluate_run
from everlearn.runtime.commands.export import export_run
from everlearn.runtime.commands.generate import GenerateRequest, generate_text, open_writing_model
from everlearn.runtime.commands.predict import predict_texts
from everlearn.runtime.commands.replay import replay_run
from everlearn.runtime.deletion.forget import ForgetPlan, forget_in_run
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.fold.served_learner import open_learner
from everlearn.runtime.folder.rebuild_report import rebuild_report
from everlearn.runtime.history.journal_views import export_journal
from everlearn.runtime.history.lineage import blame_example, diff_versions, list_versions
from everlearn.runtime.history.rollback import rollback_run
from everlearn.runtime.history.verify import verify_run

Settings = dict[str, Any]
SCORES = (
    *("examples", "learned", "rejected", "tokens", "bytes", "prequential_bits_per_byte"),
    *("rolling_bits_per_byte", "prequential_nats_per_token", "fingerprint"),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def settings(model: Path) -> Settings:
    return language_settings(model)


def scores_of(summary: dict[str, Any]) -> dict[str, Any]:
    return {name: summary[name] for name in SCORES}


def rejected_of(run: Path) -> list[str]:
    lines = (run / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["reason"] for line in lines]


def chats(path: Path) -> Path:
    records = [
        {
            "id": f"chat-{number}",
            "messages": [
                {"role": "user", "content": f"what is {number} and one?"},
                {"role": "assistant", "content": f"it is {number + 1}."},
            ],
        }
        for number in range(12)
    ]
    return write_jsonl(path, records)


def by_domain(path: Path, *, seed: int = 0) -> Path:
    texts = [
        *(("sea", text) for text in documents(6, seed=seed)),
        *(("code", f"def f{number}(x):\n    return x + {number}\n") for number in range(6)),
    ]
    return write_jsonl(
        path,
        ({"id": f"{domain}-{k}", "text": text, "domain": domain} for k, (domain, text) in enumerate(texts)),
    )


def one_long(path: Path) -> Path:
    path.write_text(" ".join(documents(12, seed=3)) + "\n", encoding="utf-8")
    return path


STREAMS: dict[str, Callable[[Path], Path]] = {
    "long.txt": one_long,
    "domains.jsonl": by_domain,
    "chats.jsonl": chats,
}


def test_a_corpus_is_learned(tmp_path: Path, settings: Settings) -> None:
    stream = corpus(tmp_path / "corpus.txt")
    run = tmp_path / "run"
    outcome = learn(stream, run, settings, test=str(corpus(tmp_path / "test.txt", 3, seed=9)))
    summary = outcome.summary
    # Of each document all characters, without the blank lines between.
    texts = stream.read_text(encoding="utf-8").strip().split("\n\n")
    assert summary["bytes"] == sum(len(text.encode()) for text in texts)
    assert summary["tokens"] == summary["bytes"] + len(texts)  # each ends with </s>
    assert summary["examples"] == summary["learned"] == sum(-(-len(text) // 64) for text in texts)
    assert 0 < summary["test_bits_per_byte"] < summary["prequential_bits_per_byte"] < 9
    assert summary["skipped"] == summary["rejected"] == summary["without_target"] == 0
    assert not outcome.interrupted
    names = {entry.name for entry in run.iterdir()}
    assert names >= {"run.json", "journal.sqlite", "checkpoints", "metrics.parquet", "report.html"}
    table = pq.read_table(run / "metrics.parquet")
    assert table["bytes"].to_pylist()[-1] == summary["bytes"]
    assert status_of(run).summary["fingerprint"] == summary["fingerprint"]
    (version,) = list_versions(run).versions
    assert version.scores["test_bits_per_byte"] == summary["test_bits_per_byte"]
    assert verify_run(run).is_valid
    again = learn(stream, run)
    assert any("Nothing is left to learn" in note for note in again.notes)
    assert scores_of(again.summary) == scores_of(summary)
    (run / "report.html").unlink()
    assert "bits per byte" in rebuild_report(run).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", STREAMS)
def test_stopped_or_crashed_and_continued_equals_undisturbed(
    tmp_path: Path, settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = STREAMS[name](tmp_path / name)
    whole = learn(stream, tmp_path / "whole", settings).summary
    run = tmp_path / "run"
    first = learn(stream, run, settings, batches=2)
    assert first.interrupted
    assert 0 < first.summary["examples"] < whole["examples"]
    folder, learner = open_learner(run)
    folder.close()
    assert isinstance(learner, LanguageLearner)
    if name == "long.txt":
        # Stopped in the middle of the document: what does not fill a step waits, and context is kept.
        assert not learner.is_settled
        assert any(tensor.numel() for key, tensor in learner.state().tensors.items() if "carry" in key)
    with monkeypatch.context() as patch:
        # Journaled, but neither learned nor saved.
        patch.setattr(Fold, "make", crash_at_step(3))
        with pytest.raises(Crash):
            learn(stream, run)
    rest = learn(stream, run)
    assert any("folded again from the journal" in note for note in rest.notes)
    assert scores_of(rest.summary) == scores_of(whole)
    assert digest_of(run) == digest_of(tmp_path / "whole")
    tables = [pq.read_table(one / "metrics.parquet") for one in (run, tmp_path / "whole")]
    assert tables[0]["bits_per_byte"].to_pylist() == tables[1]["bits_per_byte"].to_pylist()


def test_everything_is_folded_again_where_no_state_is_left(tmp_path: Path, settings: Settings) -> None:
    stream = corpus(tmp_path / "corpus.txt")
    run = tmp_path / "run"
    summary = learn(stream, run, settings).summary
    for file in (run / "checkpoints").iterdir():
        file.write_bytes(b"")
    assert verify_run_problem(run) is not None
    again = learn(stream, run)
    assert any("from the beginning" in note for note in again.notes)
    assert scores_of(again.summary) == scores_of(summary)
    assert verify_run(run).is_valid


def verify_run_problem(run: Path) -> Exception | None:
    try:
        verify_run(run)
    except Exception as error:
        return error
    return None


def test_a_run_goes_on_with_its_own_model_and_settings_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_language_model(tmp_path / "model")
    stream = corpus(tmp_path / "corpus.txt")
    run = tmp_path / "run"
    learn(stream, run, language_settings(folder), batches=1)
    for changed, text in (
        ({"learner.language.window": 8}, "learner.language.window is 32 in the run, 8 was given"),
        ({"task": "seq2seq"}, "task is 'lm' in the run, 'seq2seq' was given"),
        ({"stream.documents": "lines"}, "stream.documents is 'blank-lines' in the run, 'lines' was given"),
        ({"stream.piece_bytes": 100}, "stream.piece_bytes is 64 in the run"),
    ):
        with pytest.raises(ConfigError) as caught:
            learn(stream, run, changed)
        assert text in str(caught.value)
    vocabulary = byte_tokenizer().get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    tokens[10], tokens[11] = tokens[11], tokens[10]
    other = byte_tokenizer()
    other.backend_tokenizer.model = type(other.backend_tokenizer.model)(
        vocab={token: number for number, token in enumerate(tokens)}, merges=[]
    )
    shutil.copytree(folder, tmp_path / "kept")
    other.save_pretrained(folder)
    with pytest.raises(RunError, match=r"began with another tokenizer in .* than is there now"):
        learn(stream, run)
    shutil.rmtree(folder)
    write_language_model(folder, seed=1)
    with pytest.raises(RunError, match=r"began with another model .* put the one that it began with back"):
        learn(stream, run)
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match="there is no such folder"):
        learn(stream, run)
    shutil.copytree(tmp_path / "kept", folder)
    assert not learn(stream, run).interrupted


def test_a_document_is_forgotten_as_if_it_had_never_come(tmp_path: Path, settings: Settings) -> None:
    settings |= {"stream.batch_size": 1}
    records = [{"id": f"d{k}", "text": text} for k, text in enumerate(documents(10, seed=1))]
    run, never = tmp_path / "run", tmp_path / "never"
    for name, chosen in (("a.jsonl", records[:5]), ("b.jsonl", records[5:])):
        learn(write_jsonl(tmp_path / name, chosen), run, settings if name == "a.jsonl" else None)
        without = [one for one in chosen if one["id"] != "d6"]
        learn(write_jsonl(tmp_path / f"never-{name}", without), never, settings)
    assert blame_example(run, "d6#1").is_held
    rollback_run(run, 2, keep_learned=True)
    plans: list[ForgetPlan] = []

    def note(plan: ForgetPlan) -> bool:
        plans.append(plan)
        return True

    outcome = forget_in_run(run, ids=["d6", "nobody"], on_plan=note)
    assert outcome.num_forgotten == -(-len(records[6]["text"]) // 64) > 1
    assert outcome.exact
    assert outcome.unknown_ids == ("nobody",)
    assert plans[0].from_step > 0  # from the end of the first file
    assert outcome.fingerprint_after == list_versions(never).versions[-1].fingerprint
    assert outcome.fingerprint_after != outcome.fingerprint_before
    # The fold came by the versions: what is served is the same version, without the document.
    assert [one.fingerprint for one in list_versions(run).versions] == [
        one.fingerprint for one in list_versions(never).versions
    ]
    folder, learner = open_learner(run)
    folder.close()
    assert learner.fingerprint() == list_versions(never).versions[1].fingerprint
    assert verify_run(run).is_valid
    assert outcome.certificate is not None
    assert verify_run(run, certificate=outcome.certificate, ids=["d6", "d6#1"]).is_valid
    again = learn(write_jsonl(tmp_path / "b2.jsonl", records[5:8]), run)
    assert again.summary["fingerprint"] == outcome.fingerprint_after
    assert any("id that was deleted" in reason for reason in rejected_of(run))
    approximate = forget_in_run(run, ids=["d7"], approximate=True)
    assert not approximate.exact
    assert approximate.num_forgotten > 1


def test_a_crash_while_it_is_learned_again_leaves_the_version_that_is_served(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings |= {"stream.batch_size": 1}
    records = [{"id": f"d{k}", "text": text} for k, text in enumerate(documents(6, seed=1))]
    run, never = tmp_path / "run", tmp_path / "never"
    for name, chosen in (("a.jsonl", records[:3]), ("b.jsonl", records[3:])):
        learn(write_jsonl(tmp_path / name, chosen), run, settings if name == "a.jsonl" else None)
        without = [one for one in chosen if one["id"] != "d1"]
        learn(write_jsonl(tmp_path / f"never-{name}", without), never, settings)
    rollback_run(run, 1, keep_learned=True)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("everlearn.runtime.deletion.deletion.fold_versions_again", crash)
        with pytest.raises(KeyboardInterrupt):
            forget_in_run(run, ids=["d1"])
    with pytest.raises(
        StateError, match=r"version 1, which is served, is being folded again .* goes on with that"
    ):
        open_learner(run)  # the newest state does not take its place
    learn(tmp_path / "b.jsonl", run)
    assert list_versions(run).versions[0].fingerprint == list_versions(never).versions[0].fingerprint
    folder, learner = open_learner(run)
    folder.close()
    assert learner.fingerprint() == list_versions(never).versions[0].fingerprint


def test_a_document_is_forgotten_in_the_middle_of_a_stream(tmp_path: Path, settings: Settings) -> None:
    settings |= {"stream.batch_size": 1}
    records = [{"id": f"d{k}", "text": text} for k, text in enumerate(documents(8, seed=2))]
    stream = write_jsonl(tmp_path / "a.jsonl", records)
    run = tmp_path / "run"
    learn(stream, run, settings, batches=9)
    folder, learner = open_learner(run)
    folder.close()
    assert isinstance(learner, LanguageLearner)
    assert not learner.is_settled
    assert verify_run(run).is_valid
    assert forget_in_run(run, ids=["d1"]).exact
    on = learn(stream, run).summary
    never = write_jsonl(tmp_path / "b.jsonl", [*records[:1], *records[2:]])
    assert on["fingerprint"] == learn(never, tmp_path / "never", settings).summary["fingerprint"]
    assert verify_run(run).is_valid


def test_history_goes_back_and_on(tmp_path: Path, settings: Settings) -> None:
    run = tmp_path / "run"
    parts = [
        write_jsonl(
            tmp_path / f"{name}.jsonl",
            ({"id": f"{name}{k}", "text": text, "domain": name} for k, text in enumerate(texts)),
        )
        for name, texts in (("a", documents(4)), ("b", documents(4, seed=5)), ("c", documents(4, seed=6)))
    ]
    prints = [learn(part, run, settings if not k else None).summary for k, part in enumerate(parts[:2])]
    difference = diff_versions(run, 1, 2)
    assert dict(difference.learned) == {"b": prints[1]["examples"] - prints[0]["examples"]}
    assert set(difference.scores) == {"prequential_bits_per_byte"}
    blame = blame_example(run, "b1")
    assert (blame.versions, blame.is_held, blame.target, blame.predicted) == ([2], True, None, None)
    back = rollback_run(run, 1)
    assert back.fingerprint == prints[0]["fingerprint"]
    assert back.num_examples == prints[1]["examples"] - prints[0]["examples"]
    assert not blame_example(run, "b1").is_held
    on = learn(parts[2], run).summary
    plain = tmp_path / "plain"
    learn(parts[0], plain, settings)
    assert on["fingerprint"] == learn(parts[2], plain).summary["fingerprint"]
    assert verify_run(run).is_valid
    assert export_journal(run, tmp_path / "all.jsonl") == on["examples"]
    exported = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert {one["domain"] for one in exported if one["learned"]} == {"a", "c"}
    assert all(one["target"] is None for one in exported)


def test_forgetting_is_measured_domain_by_domain(tmp_path: Path, settings: Settings) -> None:
    stream, test = by_domain(tmp_path / "train.jsonl"), by_domain(tmp_path / "test.jsonl", seed=4)
    settings |= {"stream.order": "by-domain"}
    whole = learn(stream, tmp_path / "whole", settings, test=str(test)).summary
    saved = status_of(tmp_path / "whole").scores["matrix"]
    assert len(saved["learned"]) == 2
    assert set(saved["learned"]) == set(saved["domains"]) == {"sea", "code"}
    (first, last) = saved["bits_per_byte"]
    place = saved["domains"].index(saved["learned"][0])
    assert whole["forgetting_bits_per_byte"] == pytest.approx(last[place] - first[place])
    assert whole["mean_final_bits_per_byte"] == pytest.approx(sum(last) / 2)
    assert "forgetting" in (tmp_path / "whole" / "report.html").read_text(encoding="utf-8")
    run = tmp_path / "run"
    learn(stream, run, settings, test=str(test), batches=4)
    rest = learn(stream, run, test=str(test)).summary
    assert scores_of(rest) == scores_of(whole)
    assert status_of(run).scores["matrix"] == saved
    # Documents that are cut stay whole when the stream is arranged.
    lines = (tmp_path / "whole").name
    assert export_journal(tmp_path / "whole", tmp_path / f"{lines}.jsonl") == whole["examples"]
    parts: dict[str, list[int]] = {}
    for line in (tmp_path / f"{lines}.jsonl").read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        if "document" in fields:
            parts.setdefault(fields["document"], []).append(fields["part"])
    assert parts
    assert all(found == list(range(len(found))) for found in parts.values())


def test_what_cannot_be_read_is_listed_and_the_rest_is_learned(tmp_path: Path, settings: Settings) -> None:
    good = [{"role": "user", "content": "hello?"}, {"role": "assistant", "content": "hello."}]
    path = tmp_path / "mixed.jsonl"
    lines = [
        json.dumps({"id": "1", "text": "a text as others are"}),
        "{no json",
        json.dumps({"id": "3", "title": "no text"}),
        json.dumps({"id": "4", "messages": good[:1]}),
        json.dumps({"id": "5", "messages": "hello"}),
        json.dumps({"id": "6", "messages": good}),
        json.dumps({"id": "1", "text": "a text as others are", "label": "another target"}),
        # Fields of these names are a record's own where they are not of the types of ours.
        json.dumps({"id": "8", "text": "mine", "document": 7, "part": "two", "last": "no", "messages": 3}),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    outcome = learn(path, tmp_path / "run", settings)
    assert outcome.summary["examples"] == 3
    reasons = " | ".join(rejected_of(tmp_path / "run"))
    for part in ("JSON", "no field 'text'", "assistant", "must be a list of messages", "duplicate id '1'"):
        assert part in reasons
    assert outcome.summary["rejected"] == 5
    assert any("already learned" in note for note in outcome.notes)


def test_evaluate_scores_files_and_adapts_without_leaving_a_trace(tmp_path: Path, settings: Settings) -> None:
    run = tmp_path / "run"
    summary = learn(corpus(tmp_path / "corpus.txt"), run, settings).summary
    files = [str(corpus(tmp_path / f"{name}.txt", 3, seed=k)) for k, name in enumerate(("one", "two"))]
    before = digest_of(run)
    found = evaluate_run(run, files)
    assert set(found["domains"]) == {"one", "two"}
    assert found["bytes"] == sum(one["bytes"] for one in found["domains"].values())
    assert found["fingerprint"] == summary["fingerprint"]
    alone = evaluate_run(run, files[:1])
    assert alone["domains"] == {}
    assert alone["bits_per_byte"] == pytest.approx(found["domains"]["one"]["bits_per_byte"], rel=1e-4)
    adapted = evaluate_run(run, files, adapt=True)
    assert adapted["bits_per_byte"] < found["bits_per_byte"]
    assert adapted["fingerprint"] == summary["fingerprint"]
    single = evaluate_run(run, files, adapt=True, forget_documents=True)
    assert adapted["bits_per_byte"] < single["bits_per_byte"]
    assert evaluate_run(run, files) == found
    assert digest_of(run) == before
    with pytest.raises(ConfigError, match="adapt is not"):
        evaluate_run(run, files, forget_documents=True)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(InputError, match=r"empty\.txt cannot be tested on: it is empty"):
        evaluate_run(run, [str(tmp_path / "empty.txt")])


def test_generated_text_comes_piece_by_piece(tmp_path: Path, settings: Settings) -> None:
    run = tmp_path / "run"
    learn(corpus(tmp_path / "corpus.txt", 4), run, settings)
    pieces: list[str] = []
    request = GenerateRequest(prompt="the cat", max_new_tokens=12)
    text = generate_text(run, request, on_text=pieces.append)
    assert "".join(pieces) == text == generate_text(run, request)
    drawn = GenerateRequest(prompt="what?", max_new_tokens=12, temperature=1.0, seed=3, chat=True)
    assert generate_text(run, drawn) == generate_text(run, drawn)
    with pytest.raises(RunError, match="everlearn generate"):
        predict_texts(run, ["the cat"])
    with pytest.raises(RunError, match="replay compares predictions of labels"):
        replay_run(run, {})


@pytest.mark.parametrize("trainable", ["lora", "all"])
def test_exports_give_the_same_logits_in_transformers_and_peft(
    tmp_path: Path, model: Path, settings: Settings, trainable: str
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = tmp_path / "run"
    settings |= {"learner.gradient.trainable": trainable, "learner.gradient.average_decay": 0.9}
    learn(corpus(tmp_path / "corpus.txt", 6), run, settings)
    writer = open_writing_model(run)
    ids = torch.tensor([[0, *range(20, 60)]])
    with torch.no_grad(), writer.averaged:
        expected = writer.model(input_ids=ids).logits
        base = AutoModelForCausalLM.from_pretrained(model)
        assert not torch.allclose(base(input_ids=ids).logits, expected, atol=1e-3)
    export_run(run, tmp_path / "full")
    full = AutoModelForCausalLM.from_pretrained(tmp_path / "full")
    with torch.no_grad():
        torch.testing.assert_close(full(input_ids=ids).logits, expected, atol=2e-5, rtol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "full")
    assert tokenizer("the cat")["input_ids"] == writer.tokenizer("the cat")["input_ids"]
    assert load_language_model(str(tmp_path / "full"), dtype="float32").max_length == 2048
    if trainable == "all":
        with pytest.raises(ModelError, match="no adapter"):
            export_run(run, tmp_path / "adapter", "adapter")
        return
    export_run(run, tmp_path / "adapter", "adapter")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft reads what transformers has renamed
        adapted = PeftModel.from_pretrained(base, tmp_path / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(adapted(input_ids=ids).logits, expected, atol=2e-5, rtol=1e-5)


def test_two_files_of_one_name_do_not_collide(tmp_path: Path, settings: Settings) -> None:
    run = tmp_path / "run"
    for day, seed in (("monday", 1), ("tuesday", 2)):
        (tmp_path / day).mkdir()
        stream = corpus(tmp_path / day / "log.txt", 3, seed=seed)
        summary = learn(stream, run, settings if day == "monday" else None).summary
    assert summary["rejected"] == 0
    assert summary["bytes"] == sum(len(text.encode()) for seed in (1, 2) for text in documents(3, seed=seed))
    assert blame_example(run, "log:1@2#1").is_held
    assert forget_in_run(run, ids=["log:1@2"]).num_forgotten > 1
