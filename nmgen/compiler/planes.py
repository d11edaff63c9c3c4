"""Weights of several densities in one memory: planes, of which each density reads the first ones.

A *plane* is what one density has beyond the sparser one before it (`pruning.files.elastic`). In memory each column tile
has its planes one behind another, N values a group and pass; see `weight_groups` in docs/isa.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nmgen.compiler.memory_map import Memory
from rtl.params import InputError, ceil_div
from rtl.product import Product
from rtl.sta.legality import parameter_beats
from rtl.sta.params import StaConfig
from sim.image.product import pack_weights

if TYPE_CHECKING:  # it imports torch
    from pruning.encoder.parameters import BlockParameters
    from pruning.files.artefact import Layer

PLANES = " planes"  # behind a layer's name in that of its region
Planes = tuple[list[Product], NDArray[np.uint8]]


@dataclass(frozen=True)
class Densities:
    """The layers of one model at several densities, as one of them is compiled.

    Parameters
    ----------
    layers : by name, each at every density, from sparse to dense
    chosen : which of them is compiled
    packed : by name, what `pack_planes` gave: all densities and lengths have the same
    """

    layers: "Mapping[str, Sequence[Layer]]"
    chosen: int
    packed: "dict[str, Planes | None]"

    def of(self, name: str) -> "Sequence[Layer]":
        """A layer at every density; empty where it is the same in all, or is none of a block."""
        found = self.layers.get(name, ())
        return found if any(layer.n != found[0].n for layer in found) else ()


def each_density(blocks: "Mapping[str, Sequence[BlockParameters]]") -> dict[str, Densities]:
    """What each density is compiled with. blocks : by the density's name, from dense to sparse"""
    from pruning.files.artefact import Layer

    names = [*blocks][::-1]
    layers: dict[str, list[Layer]] = {}
    for block in (block for name in names for block in blocks[name]):
        for value in (getattr(block, field.name) for field in fields(block)):
            if isinstance(value, Layer):
                layers.setdefault(value.name, []).append(value)
    packed: dict[str, Planes | None] = {}
    return {name: Densities(layers, names.index(name), packed) for name in blocks}


def check_planes(config: StaConfig, densities: Iterable[str], memory: Memory) -> None:
    """InputError unless a layer of the programs in memory lies in planes."""
    if not any(region.name.endswith(PLANES) for region in memory.regions):
        raise InputError(
            f"densities {', '.join(densities)} with N = {config.n} and M = {config.m}: no layer's planes are multiples "
            f"of N values in M, choose an N that divides each"
        )


def pack_planes(config: StaConfig, matrices: Sequence[NDArray[np.int8]]) -> Planes | None:
    """(product of each density, planes [column tiles, beats, bytes of a beat]).

    None where a density would take more steps than packed alone: a plane that is no multiple of N values a group leaves
    lanes of its last pass empty.

    Parameters
    ----------
    matrices : weights of each density, int8 [channels, k], from sparse to dense, each with all of those before it
    """
    m, n = config.m, config.n
    channels, k = matrices[0].shape
    groups = ceil_div(k, m)
    passes: list[NDArray[np.int8]] = []  # each [channels, groups, m]
    counts: list[int] = []  # passes that a density has
    before = np.zeros((channels, groups, m), np.int8)
    for matrix in matrices:
        whole = np.pad(matrix, ((0, 0), (0, -k % m))).reshape(channels, groups, m)
        added = np.where(before == 0, whole, 0)
        rank = np.cumsum(added != 0, axis=2) - 1  # of a value among those that its group has more
        for number in range(max(ceil_div(int(rank.max()) + 1, n), not passes)):
            passes.append(np.where(rank // n == number, added, 0).astype(np.int8))
        alone = max(ceil_div(int(np.count_nonzero(whole, axis=2).max()), n), 1)
        if len(passes) > alone:
            return None
        counts.append(len(passes))
        before = whole
    products = [
        Product(config=config, tokens=1, k=k, channels=channels, pattern_n=n, weight_groups=count * groups)
        for count in counts
    ]
    virtual = np.stack(passes, axis=1).reshape(channels, -1)
    packed = pack_weights(products[-1], virtual, np.zeros((channels, 8), np.uint8))
    tiles = packed.reshape(products[-1].column_tiles, -1, config.port_bytes)
    return products, tiles[:, parameter_beats(config) :]
