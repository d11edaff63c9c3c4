"""Text to train, calibrate and measure on, in three forms:

pairs     *.tsv   score<TAB>sentence<TAB>sentence a row, the score 0 … 5, or empty: nobody has scored the pair
labelled  *.txt   label, a space, sentence a row, in files train.txt, dev.txt and test.txt of a folder
plain     *.txt   a sentence a row

What is wrong with a file is said with its row, counted from 1. Rows of white space alone are skipped.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pruning.files.reading import read_text
from rtl.params import InputError

SENTENCES = Path(__file__).with_name("sentences.txt")  # written for this repository
CLASSES_MAX = 1000
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Pair:
    score: float  # 0 unrelated … 5 the same meaning
    first: str
    second: str


@dataclass(frozen=True)
class Labelled:
    label: int
    sentence: str


def sts(path: Path) -> list[Pair]:
    """The scored pairs of a file."""
    pairs = [Pair(score, first, second) for score, first, second in _pair_rows(path) if score is not None]
    if not pairs:
        raise InputError(f"{path} has no scored pair")
    return pairs


def classification(folder: Path, classes: int | None = None) -> dict[str, list[Labelled]]:
    """The splits of a folder that are there, train.txt, dev.txt and test.txt, with labels 0 … classes − 1.

    classes : None: as many as train.txt has, each at least once
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    files = {split: folder / f"{split}.txt" for split in SPLITS if (folder / f"{split}.txt").is_file()}
    if not files:
        raise InputError(f"{folder} has none of {', '.join(f'{split}.txt' for split in SPLITS)}")
    if classes is None:
        if "train" not in files:
            raise InputError(f"{folder / 'train.txt'} is missing")
        found = {row.label for row in labelled(files["train"], CLASSES_MAX)}
        classes = max(found) + 1
        if len(found) < max(classes, 2):
            absent = next(label for label in range(max(classes, 2)) if label not in found)
            raise InputError(
                f"{files['train']} has no row of label {absent}, must have each up to {max(classes, 2) - 1}"
            )
    return {split: labelled(path, classes) for split, path in files.items()}


def labelled(path: Path, classes: int) -> list[Labelled]:
    """The rows of one file of labelled sentences."""
    rows = []
    for number, line in _lines(path):
        label, _, sentence = line.strip().partition(" ")
        if not re.fullmatch(r"[0-9]{1,9}", label) or not sentence.strip():
            raise InputError(f"{path} row {number}: must be a label, a space and a sentence, is {_short(line)}")
        if int(label) >= classes:
            raise InputError(f"{path} row {number}: label is {label}, must be 0 to {classes - 1}")
        rows.append(Labelled(int(label), sentence.strip()))
    return rows


def read_sentences(path: Path = SENTENCES) -> list[str]:
    """The rows of a plain file."""
    return [line.strip() for _, line in _lines(path)]


def gather(paths: Iterable[Path]) -> list[str]:
    """The sentences of files and of folders' files in any of the forms, each once, in order; no score and no label.

    A *.txt is labelled where each of its rows begins with a number.
    """
    found: dict[str, None] = {}
    for path in paths:
        files = sorted(file for file in path.rglob("*") if file.suffix in (".txt", ".tsv")) if path.is_dir() else [path]
        if not files:
            raise InputError(f"{path} has no *.txt and no *.tsv")
        for file in files:
            found |= dict.fromkeys(_sentences(file))
    return list(found)


def _sentences(path: Path) -> list[str]:
    if path.suffix == ".tsv":
        return [sentence for _, *both in _pair_rows(path) for sentence in both]
    rows = read_sentences(path)
    if all(re.match(r"[0-9]+ +\S", row) for row in rows):
        rows = [row.partition(" ")[2].strip() for row in rows]
    return rows


def _pair_rows(path: Path) -> Iterator[tuple[float | None, str, str]]:
    for number, line in _lines(path):
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) != 3 or not fields[1] or not fields[2]:
            what = f"must be score, sentence and sentence with tabs between, is {_short(line)}"
            raise InputError(f"{path} row {number}: {what}")
        yield (_score(path, number, fields[0]) if fields[0] else None), fields[1], fields[2]


def _score(path: Path, number: int, text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 5:
        raise InputError(f"{path} row {number}: score is {text!r}, must be a number from 0 to 5")
    return score


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of each row that is more than white space; a file has at least one. OSError: it cannot be read."""
    rows = [(number, line) for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]
    if not rows:
        raise InputError(f"{path} has no sentence")
    yield from rows


def _short(line: str) -> str:
    return repr(line if len(line) <= 40 else line[:37] + "...")
