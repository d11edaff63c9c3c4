"""From the integers of an encoder of text to a program of STA, for sequences of given lengths.

Token ids are gathered to embeddings, positions added; behind the blocks the tokens of each sequence are pooled, and a
head classifies their mean.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nmgen.compiler.encoder import Compiler, finished
from nmgen.compiler.memory_map import Memory
from nmgen.compiler.planes import Densities, check_planes, each_density
from nmgen.compiler.program import Placed, Program, Result
from nmgen.compiler.program_check import DENSITY
from rtl.params import InputError
from rtl.sta.isa import Op
from rtl.sta.params import StaConfig
from sim.image.program import pack_narrow_rows, pack_wide_rows

if TYPE_CHECKING:  # it imports torch
    from pruning.families.bert.parameters import IntegerParameters


def compile_encoder(
    parameters: "IntegerParameters",
    config: StaConfig,
    lengths: Sequence[int],
    about: dict[str, Any] | None = None,
    shorter: Sequence[Sequence[int]] = (),
    memory: Memory | None = None,
) -> Program:
    """The program that embeds sequences of these numbers of tokens, all in one run.

    shorter : numbers of tokens of programs for shorter sequences, over the same weights and tables
    memory : to fill, a new one unless given

    Raises
    ------
    InputError : something does not fit the configuration; it says what, and by how much.
    """
    memory = memory or Memory()
    every = [
        _BertCompiler(parameters, config, tokens, memory, longest=max(lengths, default=0)).emit(about or {})
        for tokens in (lengths, *shorter)
    ]
    return finished(memory, every)


def compile_elastic(
    densities: "Mapping[str, IntegerParameters]",
    config: StaConfig,
    lengths: Sequence[int],
    about: Mapping[str, Mapping[str, Any]],
    shorter: Sequence[Sequence[int]] = (),
) -> Program:
    """Programs for each density of one model, from dense to sparse, over the same planes of weights.

    Parameters
    ----------
    densities : by name, from dense to sparse; about : facts of each

    Raises
    ------
    InputError : as compile_encoder; or no layer's planes fit the configuration, see `pack_planes`.
    """
    memory, longest = Memory(), max(lengths, default=0)
    planes = each_density({name: parameters.blocks for name, parameters in densities.items()})
    every = [
        _BertCompiler(parameters, config, tokens, memory, longest=longest, densities=planes[name]).emit(
            {**about[name], DENSITY: name}
        )
        for name, parameters in densities.items()
        for tokens in (lengths, *shorter)
    ]
    check_planes(config, densities, memory)
    return finished(memory, every)


class _BertCompiler(Compiler):
    def __init__(
        self,
        parameters: "IntegerParameters",
        config: StaConfig,
        lengths: Sequence[int],
        memory: Memory,
        *,
        longest: int,
        densities: Densities | None = None,
    ) -> None:
        """longest : sequence of all programs in that memory, in tokens"""
        self._p = parameters
        self._longest = longest
        for tokens in lengths:
            if not 1 <= tokens <= len(parameters.positions):
                raise InputError(f"a sequence has {tokens} tokens, the model takes 1 to {len(parameters.positions)}")
        super().__init__(parameters.shape, parameters.blocks, config, lengths, memory, densities)
        if parameters.head:
            self._fits("classes of the head", parameters.head.layer.channels, config.hidden, "hidden")

    def _facts(self) -> dict[str, int]:
        return {"vocabulary": len(self._p.words)}

    def _host_regions(self) -> tuple[Result, ...]:
        self._ids = self._memory.put("ids", bytes(4 * self._tokens))
        wanted = [("embedding", self._hidden, self._p.scale)]
        if self._p.head:
            wanted.append(("logits", self._p.head.layer.channels, self._p.head.scale))
        return self._results_of(wanted)

    def _embeddings(self) -> None:
        p = self._p
        words = p.narrow_words
        if words:
            rows = pack_narrow_rows(self._c, words.elements, words.mult, words.shift)
        else:
            rows = pack_wide_rows(self._c, p.words)
        self._gather("embeddings.word_embeddings", rows, self._ids, narrow=bool(words))
        positions = self._memory.put("positions", self._positions().view(np.uint8))
        rows = pack_wide_rows(self._c, p.positions[: self._longest])
        self._gather("embeddings.position_embeddings", rows, positions, add=True)
        self._first_operand(p.norm)

    def _finish(self, number: int, sequence: Placed, results: tuple[Result, ...]) -> None:
        from pruning.encoder.parameters import pool_factor

        factor = pool_factor(sequence.tokens)
        self._add(
            self._of("pool", number),
            {
                "opcode": Op.POOL,
                "tokens": sequence.tokens,
                "channels": self._hidden,
                "first_token": sequence.first_token,
                "mult": factor.mult,
                "shift": factor.shift,
            },
        )
        self._store(number, sequence, results[0])
        if self._p.head:
            self._norm(self._p.head.norm, Placed(sequence.first_token, 1), of=number)
            self._classify(self._p.head.layer, number, sequence)
            self._store(number, sequence, results[1])
