"""The forms that a model has, float and int8. int8 is what the accelerator computes, to the bit."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nmgen.families.known import halves_of
from nmgen.models.dense import Dense
from rtl.params import InputError

if TYPE_CHECKING:
    from pruning.families.interface import Form


def open_forms(
    model: str, calibrate: Path | None = None, warn: Callable[[str], None] = lambda _: None
) -> "dict[str, Form]":
    """'float' and 'int8' of an artefact, 'float' of a folder and, with something to calibrate on, its 'int8'.

    warn : gets a line where that is not fit to calibrate on

    Raises
    ------
    InputError, OSError : neither an artefact with a whole model nor a folder; text or pictures that cannot be used.
    """
    if Path(model).is_file():
        if calibrate:
            raise InputError(f"{model} is an artefact, which has its scales: --calibrate is for a folder")
        family = halves_of(model)
        return {"float": family.open(model), "int8": family.integers(model)}
    if calibrate is None:
        return {"float": halves_of(model).open(model)}
    dense = Dense(model, [calibrate])
    if dense.unfit:
        warn(dense.unfit)
    return {"float": dense.model, "int8": dense.integers(dense.artefact(dense.model, {}, {}))}
