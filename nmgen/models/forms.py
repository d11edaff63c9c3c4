"""The forms that a model has, float and int8. int8 is what the accelerator computes, to the bit."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nmgen.families.known import Named
from nmgen.models.dense import Dense
from rtl.params import InputError

if TYPE_CHECKING:
    from pruning.families.interface import Form


def open_forms(
    model: Named, calibrate: Path | None = None, warn: Callable[[str], None] = lambda _: None
) -> "dict[str, Form]":
    """'float' and 'int8' of an artefact, 'float' of a folder and, with something to calibrate on, its 'int8'.

    warn : gets a line where that is not fit to calibrate on

    Raises
    ------
    InputError, OSError : files of the model, text or pictures that cannot be used.
    """
    if model.artefact:
        if calibrate:
            raise InputError(f"{model.name} is an artefact, which has its scales: --calibrate is for a folder")
        return {"float": model.float_model, "int8": model.int8_model}
    if calibrate is None:
        return {"float": model.float_model}
    dense = Dense(model.name, [calibrate])
    if dense.unfit:
        warn(dense.unfit)
    return {"float": dense.model, "int8": dense.integers(dense.artefact(dense.model, {}, {}))}
