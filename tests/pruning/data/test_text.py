"""The three forms of text, and each row that is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pruning.data.text import Labelled, Pair, classification, gather, labelled, read_sentences, sts
from rtl.params import InputError


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_pairs_without_a_score_are_skipped(tmp_path: Path) -> None:
    path = written(tmp_path, "p.tsv", "4.5\tA fox.\tA red fox.\n\tno\tscore\n0\ta\tb\r\n")
    assert sts(path) == [Pair(4.5, "A fox.", "A red fox."), Pair(0.0, "a", "b")]


def test_labelled_rows(tmp_path: Path) -> None:
    written(tmp_path, "train.txt", "1 a fine film\n0 dull .\n\n")
    written(tmp_path, "test.txt", "0  1 star\n")
    assert classification(tmp_path) == {
        "train": [Labelled(1, "a fine film"), Labelled(0, "dull .")],
        "test": [Labelled(0, "1 star")],
    }


def test_gathered_text_is_in_any_form_and_has_each_sentence_once(tmp_path: Path) -> None:
    written(tmp_path, "a/p.tsv", "\tone\ttwo\n5\ttwo\tthree\n")
    written(tmp_path, "a/train.txt", "0 one\n1 four\n")
    plain = written(tmp_path, "plain.txt", "2 foxes\nfive\n")
    written(tmp_path, "a/notes.md", "not read")
    assert gather([tmp_path / "a", plain]) == ["one", "two", "three", "four", "2 foxes", "five"]


BAD: list[tuple[Callable[[Path], Any], str, str | bytes, str]] = [
    (sts, "p.tsv", "", "FILE has no sentence"),
    (sts, "p.tsv", "\n \n", "FILE has no sentence"),
    (sts, "p.tsv", "\ta\tb\n", "FILE has no scored pair"),
    (
        sts,
        "p.tsv",
        "1\ta\tb\n2 a b\n",
        "FILE row 2: must be score, sentence and sentence with tabs between, is '2 a b'",
    ),
    (sts, "p.tsv", "1\ta\t \n", "FILE row 1: must be score, sentence and sentence with tabs between, is '1\\ta\\t '"),
    (sts, "p.tsv", "\n1\ta\tb\tc\n", "FILE row 2: must be score, sentence and sentence with tabs between, is "),
    (sts, "p.tsv", "5.1\ta\tb\n", "FILE row 1: score is '5.1', must be a number from 0 to 5"),
    (sts, "p.tsv", "nan\ta\tb\n", "FILE row 1: score is 'nan', must be a number from 0 to 5"),
    (sts, "p.tsv", "x\ta\tb\n", "FILE row 1: score is 'x', must be a number from 0 to 5"),
    (sts, "p.tsv", b"1\ta\t\xff\n", "FILE is not UTF-8 text: byte 4"),
    (lambda path: labelled(path, 2), "t.txt", "0 a\n2 b\n", "FILE row 2: label is 2, must be 0 to 1"),
    (
        lambda path: labelled(path, 2),
        "t.txt",
        "0 a\n-1 b\n",
        "FILE row 2: must be a label, a space and a sentence, is ",
    ),
    (lambda path: labelled(path, 2), "t.txt", "1\n", "FILE row 1: must be a label, a space and a sentence, is '1'"),
    (lambda path: labelled(path, 2), "t.txt", "good a\n", "FILE row 1: must be a label, a space and a sentence, is "),
    (lambda path: classification(path.parent), "train.txt", "0 a\n2 b\n", "FILE has no row of label 1, must have each"),
    (lambda path: classification(path.parent), "train.txt", "0 a\n0 b\n", "FILE has no row of label 1, must have each"),
    (lambda path: classification(path.parent), "other.txt", "0 a\n", "DIR has none of train.txt, dev.txt, test.txt"),
    (lambda path: classification(path.parent), "dev.txt", "0 a\n", "DIR/train.txt is missing"),
    (classification, "t.txt", "0 a\n", "FILE is not a folder"),
    (lambda path: gather([path.parent]), "notes.md", "text", "DIR has no *.txt and no *.tsv"),
    (read_sentences, "s.txt", "", "FILE has no sentence"),
]


@pytest.mark.parametrize(("parse", "name", "text", "message"), BAD)
def test_what_is_wrong_is_named(
    parse: Callable[[Path], Any], name: str, text: str | bytes, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(InputError) as caught:
        parse(path)
    found = str(caught.value)
    assert "\n" not in found
    assert found.replace(str(path), "FILE").replace(str(tmp_path), "DIR").startswith(message)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sts(tmp_path / "none.tsv")
