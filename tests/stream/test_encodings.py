"""Encodings that nobody named: what is taken, what is said of it, and what is refused."""

from __future__ import annotations

import gzip
import json
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.stream.test_stray_quotes import read

from everlearn.errors import InputError
from everlearn.stream.encodings import HEAD_BYTES
from everlearn.stream.notes import reading_notes
from everlearn.stream.open import open_source
from everlearn.stream.source import DocumentConfig, EndOfStream, SourceConfig
from everlearn.types import Cursor

TEXTS = {
    "cp1252": ["Je n’ai pas reçu ma commande, c’est gênant", "réinitialiser le mot de passe", "où est-il ?"],
    "cp1250": ["Nie mogę się zalogować do konta", "Gdzie jest moja przesyłka, źle łącze", "dziękuję"],
    "cp1251": ["Не могу войти в личный кабинет", "Где мой заказ", "доставка опаздывает"],
    "cp1253": ["Πού είναι η παραγγελία μου", "δεν μπορώ να συνδεθώ", "πρόσβαση στον λογαριασμό"],
    "cp932": ["注文した商品が届きません", "パスワードを忘れました", "アクセスできない"],
    "gb18030": ["我的订单在哪里？", "我忘记了密码，无法登录", "账户被锁定了"],
    "cp949": ["주문한 상품이 오지 않았어요", "비밀번호를 잊어버렸어요", "계정이 잠겼습니다"],
}


def as_csv(texts: list[str], line_end: str = "\n") -> str:
    return "text,label" + line_end + "".join(f'"{text}",a{line_end}' for text in texts)


def texts_of(path: Path, **config: Any) -> list[str | None]:
    examples, rejected = read(path, SourceConfig(**config))
    assert not rejected
    return [one.text for one in examples]


@pytest.mark.parametrize("encoding", TEXTS)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_an_encoding_is_recognised_and_told(tmp_path: Path, encoding: str, suffix: str) -> None:
    data = as_csv(TEXTS[encoding] * 4).encode(encoding)
    path = tmp_path / f"t.csv{suffix}"
    path.write_bytes(gzip.compress(data) if suffix else data)
    assert texts_of(path) == TEXTS[encoding] * 4
    source = open_source(path)
    source.open().close()
    (note,) = reading_notes(source)
    letters = sorted({one for text in TEXTS[encoding] for one in text if one.isalpha() and not one.isascii()})
    assert f"is read as {encoding} ({' '.join(letters[:8])}, first in line 2)" in note
    assert "--encoding" in note
    assert TEXTS[encoding][0] not in note  # it stays in the report, whatever is forgotten


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "t.txt", "t.tsv"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_kind_of_text_file(tmp_path: Path, name: str, line_end: str) -> None:
    texts = TEXTS["cp1252"]
    records = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    written = {
        "t.csv": as_csv(texts, line_end),
        "t.tsv": line_end.join(["text", *texts]),
        "t.txt": line_end.join(texts),
        "t.jsonl": line_end.join(records),
        "t.json": f"[{','.join(records)}]",
    }
    (tmp_path / name).write_bytes(written[name].encode("cp1252"))
    assert texts_of(tmp_path / name) == texts


def test_documents_of_a_language_model(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("\n\n".join(TEXTS["cp1252"]).encode("cp1252"))
    config = SourceConfig(documents=DocumentConfig())
    examples, rejected = read(path, config)
    assert [(one.text or "").strip() for one in examples] == TEXTS["cp1252"]
    assert not rejected
    source = open_source(path, config)
    reader = source.open()
    reader.next_batch(1)
    cursor = reader.cursor()
    reader.close()
    assert cursor["encoding"] == "cp1252"
    again = source.open(cursor)
    assert (again.next_batch(1)[0].text or "").strip() == TEXTS["cp1252"][1]
    again.close()


def test_utf8_needs_no_note_and_a_name_wins(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(as_csv(TEXTS["cp1252"]).encode())
    source = open_source(path)
    source.open().close()
    assert reading_notes(source) == []
    path.write_bytes(as_csv(["Şifremi unuttum"]).encode("cp1254"))
    assert texts_of(path, encoding="cp1254") == ["Şifremi unuttum"]


def test_what_was_recognised_stays_when_a_file_grows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(as_csv(TEXTS["cp1252"]).encode("cp1252"))
    reader = open_source(path).open()
    assert len(reader.next_batch(3)) == 3
    cursor = json.loads(json.dumps(reader.cursor()))
    reader.close()
    # By now the beginning looks like something else.
    with path.open("ab") as out:
        out.write((as_csv(TEXTS["cp1251"] * 40).partition("\n")[2]).encode("cp1251"))
    again = open_source(path).open(cursor)
    assert again.next_batch(1)[0].text == TEXTS["cp1251"][0].encode("cp1251").decode("cp1252")
    again.close()


def test_two_encodings_in_the_beginning_are_refused_with_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    texts = TEXTS["cp1252"]
    path.write_bytes(as_csv(texts).encode() + f"{texts[1]},b\n".encode("cp1252"))
    with pytest.raises(InputError, match=r"t\.csv:5: the file is in two encodings: line 2 is UTF-8, line 5"):
        open_source(path).open()
    examples, rejected = read(path, SourceConfig(encoding="utf-8"))
    assert len(examples) == 3
    assert [one.place for one in rejected] == ["t.csv:5"]


@pytest.mark.parametrize(("first", "later"), [("utf-8", "cp1252"), ("cp1252", "utf-8"), ("gb18030", "utf-8")])
def test_another_encoding_later_on_is_refused_line_by_line(tmp_path: Path, first: str, later: str) -> None:
    path = tmp_path / "t.csv"
    texts = TEXTS["gb18030" if first == "gb18030" else "cp1252"]
    many = texts * (HEAD_BYTES // 40)
    path.write_bytes(as_csv(many).encode(first) + f"{texts[1]},b\nplain,c\n{texts[1]},d\n".encode(later))
    examples, rejected = read(path)
    assert [one.text for one in examples] == [*many, "plain"]
    assert [one.place for one in rejected] == [f"t.csv:{len(many) + 2}", f"t.csv:{len(many) + 4}"]
    assert all("--encoding" in one.reason for one in rejected)


def test_a_few_broken_lines_in_utf8_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(as_csv(TEXTS["cp1252"] * 10).encode() + b"caf\xe9,b\n")
    examples, rejected = read(path)
    assert len(examples) == 30
    assert [one.place for one in rejected] == ["t.csv:32"]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"PK\x03\x04" + bytes(range(256)) * 4, "xlsx"),
        (b"PAR1" + bytes(range(256)) * 4, "Parquet"),
        (gzip.compress(b"text,label\na,b\n", mtime=0), "suffix .gz"),
        (b"\x89RIFF\x00\x01\n" + bytes(range(256)) * 4, "t.csv:1: binary data"),
        (as_csv(TEXTS["cp1252"]).encode("utf-16-le"), "--encoding utf-16-le"),
    ],
)
def test_what_is_no_text(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=what):
        open_source(path).open()


def test_control_characters_alone_make_no_binary_file(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"a\x02b\x1fc \x0c\nd\x02e\n" + "é\x02\n".encode())
    assert texts_of(path) == ["a\x02b\x1fc \x0c", "d\x02e", "é\x02"]


def test_an_encoding_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(as_csv(["איפה ההזמנה שלי"]).encode("cp1255"))
    with pytest.raises(InputError, match=r"t\.csv:2: not UTF-8, and .* cannot be told; it may be .*cp1255"):
        open_source(path).open()
    assert texts_of(path, encoding="cp1255") == ["איפה ההזמנה שלי"]


CHARACTERS = st.characters(codec="cp1252", exclude_categories=["C"])


def read_on(path: Path, cursor: Cursor | None) -> tuple[list[tuple[str, str | None, Cursor]], set[str]]:
    """Ids, texts and the cursors behind them; places of what was refused."""
    with closing(open_source(path).open(cursor)) as reader:
        found, refused = [], set()
        try:
            while True:
                found += [(one.id, one.text, reader.cursor()) for one in reader.next_batch(1)]
                refused |= {one.place for one in reader.take_rejected()}
        except EndOfStream:
            return found, refused | {one.place for one in reader.take_rejected()}


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(codec="cp1252", exclude_categories=["C"]), max_size=30), max_size=8)
)
@example(texts=["Â·", "plain"])
def test_nothing_is_silently_wrong(texts: list[str]) -> None:
    """Whatever a file of cp1252 holds: it is read so or refused, and a cursor gives the rest."""
    lines = [*(f"{text} ok" for text in texts), "déjà reçu: où est le colis ?"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.txt")
        path.write_bytes("\n".join(lines).encode("cp1252"))
        try:
            whole, refused = read_on(path, None)
        except InputError as error:
            assert "--encoding" in str(error)  # noqa: PT017
            return
        source = open_source(path)
        source.open().close()
        if "cp1252" in "".join(reading_notes(source)):
            expected = [(f"t:{n}", line) for n, line in enumerate(lines, 1) if f"t.txt:{n}" not in refused]
            assert [(id_, text) for id_, text, _ in whole] == expected
        for position, (_, _, cursor) in enumerate(whole):
            assert read_on(path, cursor)[0] == whole[position + 1 :]
