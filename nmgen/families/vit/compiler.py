"""From the integers of a ViT to a program of STA, for a number of pictures.

The blocks are those of `nmgen.compiler.encoder`; a LayerNorm stands before each part and leaves the residual alone.
Patches come in 8 bits, a row of pixels a token; their projection is a product that is added to what GATHER made of the
residual: the positions and the class token.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nmgen.compiler.encoder import Compiler, finished
from nmgen.compiler.memory_map import Memory, Rows, words
from nmgen.compiler.planes import Densities, check_planes, each_density
from nmgen.compiler.program import Placed, Program, Result
from nmgen.compiler.program_check import DENSITY
from rtl.params import ceil_div, round_up
from rtl.sta.isa import Op
from rtl.sta.params import StaConfig
from sim.image.program import pack_wide_rows

if TYPE_CHECKING:  # it imports torch
    from pruning.families.vit.parameters import VitParameters


def compile_vit(
    parameters: "VitParameters",
    config: StaConfig,
    images: int,
    about: dict[str, Any] | None = None,
    memory: Memory | None = None,
) -> Program:
    """The program that classifies so many pictures, all in one run; `Program.image_of_patches` takes them.

    memory : to fill, a new one unless given

    Raises
    ------
    InputError : something does not fit the configuration; it says what, and by how much.
    """
    memory = memory or Memory()
    return finished(memory, [_VitCompiler(parameters, config, images, memory).emit(about or {})])


def compile_elastic(
    densities: "Mapping[str, VitParameters]",
    config: StaConfig,
    images: int,
    about: Mapping[str, Mapping[str, Any]],
) -> Program:
    """Programs for each density of one model, over the same planes of weights; see the BERT family's."""
    memory = Memory()
    planes = each_density({name: parameters.blocks for name, parameters in densities.items()})
    every = [
        _VitCompiler(parameters, config, images, memory, planes[name]).emit({**about[name], DENSITY: name})
        for name, parameters in densities.items()
    ]
    check_planes(config, densities, memory)
    return finished(memory, every)


class _VitCompiler(Compiler):
    _norms_replace = False

    def __init__(
        self,
        parameters: "VitParameters",
        config: StaConfig,
        images: int,
        memory: Memory,
        densities: Densities | None = None,
    ) -> None:
        self._p = parameters
        lengths = [parameters.shape.tokens] * images
        super().__init__(parameters.shape, parameters.blocks, config, lengths, memory, densities)
        k = parameters.projection.k
        self._fits("pixels of a patch", k, config.max_groups * config.m, "max_k")
        # Nothing else is in the store while they are.
        self._patches = Rows(0, words(config, k))
        self._fits("words of a tile of patches", self._patches.pitch, config.store_words, "store_words")
        if parameters.classifier:
            self._fits("classes", parameters.classifier.channels, config.hidden, "hidden")
        self._patch_bytes = round_up(round_up(k, config.m), config.port_bytes)

    def _facts(self) -> dict[str, int]:
        shape = self._p.shape
        return {
            "image": shape.image,
            "channels": shape.channels,
            "patch_side": shape.patch,
            "patch": self._p.projection.k,
            "patch_bytes": self._patch_bytes,
        }

    def _host_regions(self) -> tuple[Result, ...]:
        self._pixels = self._memory.put("patches", bytes(self._patch_bytes * self._tokens))
        if self._p.classifier:
            return self._results_of([("logits", self._p.classifier.channels, self._p.scale)])
        return self._results_of([("embedding", self._hidden, self._p.scale)])

    def _embeddings(self) -> None:
        p, patches = self._p, self._patches
        positions = self._memory.put("positions", self._positions().view(np.uint8))
        self._gather("embeddings.position_embeddings", pack_wide_rows(self._c, p.initial), positions)
        tiles = self._c.store_words // patches.pitch
        for part in self._blocks_of(Placed(0, self._tokens), tiles):
            self._add(
                f"patches{self._tokens_of(part)}",
                {
                    "opcode": Op.LOAD,
                    "tokens": part.tokens,
                    "first_token": part.first_token,
                    "groups": ceil_div(p.projection.k, self._c.m),
                    "y_base": patches.base,
                    "y_pitch": patches.pitch,
                    "address": self._pixels + part.first_token * self._patch_bytes,
                    "beats": part.tokens * self._patch_bytes // self._c.port_bytes,
                },
            )
            self._linear(p.projection, patches, None, part)
        self._first_operand(p.norm)

    def _finish(self, number: int, sequence: Placed, results: tuple[Result, ...]) -> None:
        if self._p.classifier:
            self._fetch_operand(Placed(sequence.first_token, 1))
            self._classify(self._p.classifier, number, sequence)
        self._store(number, sequence, results[0])
