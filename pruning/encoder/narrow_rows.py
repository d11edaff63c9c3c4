"""Rows of 16-bit integers in 8 bits with a scale a row: a table of words that takes half the memory.

An element is its 8-bit integer times mult / 2^shift of its row, rounded as every requantisation: GATHER computes it.
"""

from dataclasses import dataclass

import numpy as np
import torch

from pruning.encoder.integer import requantise
from pruning.integers.quantise import requantisation

MOST = 127  # magnitude of an element


@dataclass(frozen=True, eq=False)
class NarrowRows:
    """A table.

    Parameters
    ----------
    elements : int8 [rows, channels]
    mult, shift : uint16 and uint8 [rows]
    """

    elements: np.ndarray
    mult: np.ndarray
    shift: np.ndarray

    def wide(self) -> np.ndarray:
        """What is computed with: int16 [rows, channels]."""
        factors = torch.ldexp(torch.from_numpy(self.mult.astype(np.float64)), -torch.from_numpy(self.shift.astype(int)))
        values = requantise(torch.from_numpy(self.elements).double(), 0, factors[:, None], 16)
        found: np.ndarray = values.to(torch.int16).numpy()
        return found


def narrow_rows(name: str, rows: np.ndarray) -> NarrowRows:
    """The nearest table in 8 bits; of each row the largest magnitude is MOST steps.

    name : for messages
    rows : int16 [rows, channels]

    Raises
    ------
    InputError : a row that no factor scales to.
    """
    most = np.abs(rows.astype(np.int64)).max(axis=1)
    mult, shift = requantisation(name, torch.from_numpy(np.maximum(most, 1) / MOST))
    steps = torch.ldexp(mult.double(), -shift).numpy()
    elements = np.rint(rows / steps[:, np.newaxis]).clip(-MOST, MOST).astype(np.int8)
    return NarrowRows(elements, mult.numpy().astype(np.uint16), shift.numpy().astype(np.uint8))
