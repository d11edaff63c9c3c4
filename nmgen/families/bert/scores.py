"""What a model of text scores on scored pairs and on labelled sentences."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nmgen.families.interface import ScoredOn, Scores, Scoring
from rtl.params import InputError

if TYPE_CHECKING:
    from pruning.encoder.forms import TextForm


def sts_files(paths: Sequence[Path]) -> list[Path]:
    """The files, and the *.tsv of folders."""
    files = [file for path in paths for file in (sorted(path.rglob("*.tsv")) if path.is_dir() else [path])]
    if paths and not files:
        raise InputError(f"{paths[0]} has no *.tsv")
    return files


def scoring(name: str, model: "TextForm", on: ScoredOn) -> Scoring:
    """Spearman · 100 of each file of scored pairs, and their mean; accuracy on labelled splits.

    train.txt counts only where it is alone.
    """
    from pruning.data.text import classification
    from pruning.data.text import sts as pairs_of
    from pruning.encoder.spread import spread
    from pruning.training.scores import accuracy, mean, sts_score

    if on.images:
        raise InputError(f"{name} reads text: it takes no --images")
    pairs = {str(path): pairs_of(path) for path in sts_files(on.sts)}
    rows = classification(on.classify, model.classes or None) if on.classify else {}
    splits = [split for split in rows if split != "train"] or list(rows)
    sentences = [text for of in pairs.values() for pair in of for text in (pair.first, pair.second)]
    sentences += [row.sentence for split in splits for row in rows[split]]

    def scored(form: "TextForm") -> Scores:
        found: Scores = {}
        if pairs:
            found["sts"] = {file: round(sts_score(form, of), 3) for file, of in pairs.items()}
            found["mean"] = round(mean(found["sts"].values()), 3)
        if rows:
            found["accuracy"] = {split: round(accuracy(form, rows[split]), 3) for split in splits}
        return found

    return Scoring(scored, [sentences[i] for i in spread(len(sentences))])
