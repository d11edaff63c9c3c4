"""What a model or an artefact scores on scored pairs and on labelled sentences."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtl.params import InputError

if TYPE_CHECKING:
    from pruning.families.bert.integer import IntegerEncoder
    from pruning.families.bert.model import Encoder

Forms = dict[str, "Encoder | IntegerEncoder"]  # by 'float' and 'int8'


def open_encoder(model: str) -> "Encoder":
    """The encoder of a Hugging Face folder, or the packaged minilm."""
    from pruning.families.bert.folder import load, packaged_minilm

    return load(packaged_minilm() if model == "minilm" else model)


def open_forms(model: str, calibrate: Path | None = None, warn: Callable[[str], None] = lambda _: None) -> Forms:
    """The forms that a model has: an artefact both, a folder float and, with text to calibrate on, int8.

    int8 is what the accelerator computes, to the bit.

    warn : gets a line where the text is not fit to calibrate on

    Raises
    ------
    InputError, OSError : neither an artefact with a whole model nor a folder; text that cannot be used.
    """
    from nmgen.models.dense import DenseText
    from pruning.families.bert.export import from_artefact
    from pruning.families.bert.integer import IntegerEncoder
    from pruning.files.artefact import read

    if Path(model).is_file():
        if calibrate:
            raise InputError(f"{model} is an artefact, which has its scales: --calibrate is for a folder")
        try:
            artefact = read(model)
            return {"float": from_artefact(artefact)[0], "int8": IntegerEncoder(artefact)}
        except InputError as error:
            raise InputError(_named(model, error)) from None
    if calibrate is None:
        return {"float": open_encoder(model)}
    dense = DenseText(model, [calibrate])
    if dense.unfit:
        warn(dense.unfit)
    return {"float": dense.model, "int8": IntegerEncoder(dense.artefact(dense.model, {}, {}))}


def _named(model: str, error: InputError) -> str:
    return str(error) if str(error).startswith(f"{model}: ") else f"{model}: {error}"


def sts_files(paths: Sequence[Path]) -> list[Path]:
    """The files, and the *.tsv of folders."""
    files = [file for path in paths for file in (sorted(path.rglob("*.tsv")) if path.is_dir() else [path])]
    if paths and not files:
        raise InputError(f"{paths[0]} has no *.tsv")
    return files


def score(encoder: "Encoder | IntegerEncoder", sts: Sequence[Path] = (), labels: Path | None = None) -> dict[str, Any]:
    """{'sts': {file: Spearman · 100, …}, 'mean': of the files, 'accuracy': {'dev': …, 'test': …}}, what is asked for.

    sts : files of scored pairs
    labels : a folder of labelled sentences; train.txt counts only where it is alone
    """
    from pruning.data.text import classification
    from pruning.data.text import sts as pairs_of
    from pruning.training import measure

    found: dict[str, Any] = {}
    pairs = {str(path): pairs_of(path) for path in sts}  # all files are read before any is computed
    rows = classification(labels, encoder.classes or None) if labels else {}
    if pairs:
        found["sts"] = {name: round(measure.sts_score(encoder, rows), 3) for name, rows in pairs.items()}
        found["mean"] = round(measure.mean(found["sts"].values()), 3)
    if rows:
        splits = [split for split in rows if split != "train"] or ["train"]
        found["accuracy"] = {split: round(measure.accuracy(encoder, rows[split]), 3) for split in splits}
    return found
