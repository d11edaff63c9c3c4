"""From the integers of an encoder's blocks to the instructions of STA, for sequences of given lengths.

Families say what comes before and behind the blocks, in nmgen/families/NAME/compiler.py.

What lies where is `nmgen.compiler.memory_map`; how weights are dealt out to beats is `sim.image.product`. Here are the
order of the instructions and the order of the channels: every head begins with a whole word of the store, so the
channels of queries, keys and values are spread, and with them the inputs of the attention's output layer.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nmgen.compiler.memory_map import Memory, Rows, StorePlan, plan_store
from nmgen.compiler.program import Placed, Program, Result
from nmgen.compiler.program_check import check, check_lengths
from rtl.params import CHANNELS_MAX, SHIFT_MAX, InputError, ceil_div, round_up
from rtl.product import Product
from rtl.sta.isa import Columns, Instruction, Op, assemble
from rtl.sta.params import StaConfig
from sim.image.product import pack_weights
from sim.image.program import pack_parameters, pack_table, parameter_units

if TYPE_CHECKING:  # it imports torch
    from pruning.encoder.parameters import BlockParameters, EncoderShape, Norm
    from pruning.files.artefact import Layer
    from pruning.integers.rescale import Rescale

Fields = dict[str, int]


def place_sequences(config: StaConfig, lengths: Sequence[int]) -> tuple[Placed, ...]:
    """Each sequence begins at a multiple of rows."""
    placed, first = [], 0
    for tokens in lengths:
        placed.append(Placed(first, tokens))
        first = round_up(first + tokens, config.rows)
    return tuple(placed)


@dataclass(frozen=True)
class _Spread:
    """Heads in whole words of the store.

    Parameters
    ----------
    heads, size : channels of a head
    pitch : channels from one head to the next
    """

    heads: int
    size: int
    pitch: int

    @property
    def channels(self) -> NDArray[np.int64]:
        """Where each channel goes, [hidden]."""
        return (np.arange(self.heads)[:, np.newaxis] * self.pitch + np.arange(self.size)).reshape(-1)

    @property
    def width(self) -> int:
        return self.heads * self.pitch


def finished(memory: Memory, programs: Sequence[Program]) -> Program:
    """The first of the programs, with the others as its `shorter`; all with their memory and checked."""
    image = memory.image()
    longest, *shorter = (replace(program, memory=image) for program in programs)
    found = replace(longest, shorter=tuple(shorter))
    check_lengths(found)  # what is written can be read
    for program in found.every:
        check(program)
    return found


class Compiler(ABC):
    """What all encoders have in common: the blocks, and every single instruction.

    A family says what comes before the blocks (`_embeddings`), behind them (`_finish`, of each sequence), and what of
    it the host meets (`_host_regions`, `_facts`).
    """

    _norms_replace = True  # a NORM with an operand sets the residual as well

    def __init__(
        self,
        shape: "EncoderShape",
        blocks: "Sequence[BlockParameters]",
        config: StaConfig,
        lengths: Sequence[int],
        memory: Memory,
    ) -> None:
        """memory : with the programs of the same model that are there already: what is the same is shared"""
        self._shape, self._blocks, self._c = shape, blocks, config
        self._hidden = shape.hidden
        size = shape.hidden // shape.heads
        self._spread = _Spread(shape.heads, size, round_up(size, config.store_word_bytes))
        self._check_sizes(lengths)
        self._sequences = place_sequences(config, lengths)
        self._tokens = self._sequences[-1].first_token + self._sequences[-1].tokens
        self._tiles = ceil_div(self._tokens, config.rows)
        self._fits("tokens of all sequences", self._tokens, config.max_tokens, "max_tokens")
        self._plan: StorePlan = plan_store(
            config,
            tiles=self._tiles,
            sequence_tiles=ceil_div(max(lengths), config.rows),
            hidden=shape.hidden,
            heads_width=self._spread.width,
            keys=max(lengths),
            inner=shape.intermediate,
        )
        self._memory = memory
        self._before = tuple(self._memory.regions)
        self._instructions: list[Instruction] = []
        self._names: list[str] = []
        self._notes: list[str] = []
        self._loaded: dict[int, int] = {}  # address of the table that each of the two memories holds

    def _fits(self, what: str, value: int, limit: int, parameter: str) -> None:
        if value > limit:
            raise InputError(f"{what}: {value}, the configuration has {limit}: {value - limit} too many ({parameter})")

    def _check_sizes(self, lengths: Sequence[int]) -> None:
        shape, c = self._shape, self._c
        if not lengths:
            raise InputError("there are no sequences to compile for, must be at least 1")
        longest_k = c.max_groups * c.m
        self._fits("hidden channels", shape.hidden, c.hidden, "hidden")
        self._fits("inputs of a layer (hidden)", shape.hidden, longest_k, "max_k")
        self._fits("inputs of the attention's output, heads in whole words", self._spread.width, longest_k, "max_k")
        self._fits("inputs of a layer (intermediate)", shape.intermediate, longest_k, "max_k")
        self._fits("keys of a sequence", max(lengths), longest_k, "max_k")
        self._fits("channels of a layer", max(shape.intermediate, self._spread.width), CHANNELS_MAX, "channels")
        bits = (255 * max(lengths)).bit_length()
        for block in self._blocks:
            if block.context.shift + bits - 1 > SHIFT_MAX:
                raise InputError(
                    f"{block.name}: the context's shift is {block.context.shift}, with {max(lengths)} keys it must be "
                    f"at most {SHIFT_MAX + 1 - bits}"
                )

    # --- the whole -----------------------------------------------------------------------------
    def emit(self, about: dict[str, Any]) -> Program:
        """The program, which lacks its memory until all that share it are there: see `finished`."""
        results = self._host_regions()
        self._embeddings()
        for block in self._blocks:
            self._attention(block)
            self._feed_forward(block)
        for number, sequence in enumerate(self._sequences):
            self._finish(number, sequence, results)
        code = assemble([*self._instructions, {"opcode": Op.END}])
        address = self._memory.put("program", code)
        shape = self._shape
        facts = {
            "hidden": shape.hidden,
            "layers": shape.layers,
            "heads": shape.heads,
            "intermediate": shape.intermediate,
            "store_words_used": self._plan.words,
        }
        own = self._memory.regions[len(self._before) :]
        names = {region.name for region in own}
        return Program(
            config=self._c,
            memory=b"",
            address=address,
            names=tuple(self._names),
            regions=(*(region for region in self._before if region.name not in names), *own),
            sequences=self._sequences,
            results=results,
            notes=tuple(dict.fromkeys(self._notes)),
            about=about | self._facts() | facts,
        )

    @abstractmethod
    def _facts(self) -> dict[str, int]:
        """Of the model, beside what every program says."""

    @abstractmethod
    def _host_regions(self) -> tuple[Result, ...]:
        """Puts what the host writes, zeros until then, and the results into memory."""

    @abstractmethod
    def _embeddings(self) -> None:
        """From what the host wrote to the residual and to the operand of the first block."""

    @abstractmethod
    def _finish(self, number: int, sequence: Placed, results: tuple[Result, ...]) -> None:
        """From a sequence's residual behind the last block to its results."""

    def _results_of(self, wanted: Sequence[tuple[str, int, float]]) -> tuple[Result, ...]:
        """wanted : name, channels and scale of each"""
        results = []
        for name, channels, scale in wanted:
            pitch = round_up(2 * channels, self._c.port_bytes)
            address = self._memory.put(name, bytes(pitch * len(self._sequences)))
            results.append(Result(name, address, pitch, channels, scale))
        return tuple(results)

    def _positions(self) -> NDArray[np.uint32]:
        """Of each token in its sequence, 0 between sequences: [tokens]."""
        positions = np.zeros(self._tokens, "<u4")
        for sequence in self._sequences:
            positions[sequence.first_token : sequence.first_token + sequence.tokens] = np.arange(sequence.tokens)
        return positions

    # --- a block -------------------------------------------------------------------------------
    def _attention(self, block: "BlockParameters") -> None:
        plan, spread = self._plan, self._spread
        width = (spread.heads - 1) * spread.pitch + round_up(spread.size, self._c.m)
        for layer, rows in ((block.query, plan.queries), (block.key, plan.keys), (block.value, plan.values)):
            # Zero channels between the heads; behind the last one up to the end of a group, which KEYS reads whole.
            self._linear(layer, plan.operand, rows, outputs=spread.channels, channels=width)
        self._table(f"{block.name}.attention.self.exponential", 1, block.exponential)
        self._table(f"{block.name}.intermediate.table", 0, block.table)
        for number, sequence in enumerate(self._sequences):
            for head in range(spread.heads):
                self._head_attention(block, number, sequence, head)
        # The context lies where the queries were.
        self._linear(block.attention_output, plan.queries, None, inputs=spread.channels, k=spread.width)
        self._norm(block.attention_norm, 0, self._tokens)

    def _head_attention(self, block: "BlockParameters", number: int, sequence: Placed, head: int) -> None:
        plan, c = self._plan, self._c
        tile = sequence.first_token // c.rows
        word = head * self._spread.pitch // c.store_word_bytes
        queries, keys, values = (rows.at(tile, word) for rows in (plan.queries, plan.keys, plan.values))
        scores = plan.scores
        common = {
            "opcode": Op.PRODUCT,
            "to_store": 1,
            "pattern_n": c.m,
            "tokens": sequence.tokens,
            "first_token": sequence.first_token,
        }
        self._add(
            self._of(f"{block.name}.attention.self.scores.{head}", number),
            common
            | {
                "columns": Columns.KEYS,
                "maximum": 1,
                "channels": sequence.tokens,
                "groups": ceil_div(self._spread.size, c.m),
                "x_base": queries,
                "x_pitch": plan.queries.pitch,
                "c_base": keys,
                "c_pitch": plan.keys.pitch,
                "y_base": scores.at(),
                "y_pitch": scores.pitch,
                "mult": block.scores.mult,
                "shift": block.scores.shift,
            },
        )
        self._add(
            self._of(f"{block.name}.attention.self.context.{head}", number),
            common
            | {
                "columns": Columns.VALUES,
                "channels": self._spread.size,
                "groups": ceil_div(sequence.tokens, c.m),
                "x_base": scores.at(),
                "x_pitch": scores.pitch,
                "c_base": values,
                "c_pitch": plan.values.pitch,
                "y_base": queries,
                "y_pitch": plan.queries.pitch,
                "mult": block.context.mult,
                "shift": block.context.shift,
                "keys": sequence.tokens,
            },
        )

    def _feed_forward(self, block: "BlockParameters") -> None:
        plan, rows = self._plan, self._c.rows
        if plan.inner_tiles < self._tiles:
            self._notes.append(
                f"the store holds what is between the feed-forward layers for {plan.inner_tiles} of {self._tiles} "
                f"token tiles: their weights are read {ceil_div(self._tiles, plan.inner_tiles)} times"
            )
        for tile in range(0, self._tiles, plan.inner_tiles):
            first = tile * rows
            tokens = min(plan.inner_tiles * rows, self._tokens - first)
            part = "" if plan.inner_tiles == self._tiles else f" tokens {first}-{first + tokens - 1}"
            self._linear(
                block.intermediate,
                plan.operand,
                plan.inner,
                first=first,
                tokens=tokens,
                x_tile=tile,
                rescale=block.table_rescale,
                part=part,
            )
            self._linear(block.output, plan.inner, None, first=first, tokens=tokens, part=part)
        self._norm(block.output_norm, 0, self._tokens)

    # --- single instructions -------------------------------------------------------------------
    def _add(self, name: str, fields: Instruction) -> None:
        self._names.append(name)
        self._instructions.append({key: value for key, value in fields.items() if value})

    def _of(self, name: str, number: int | None) -> str:
        """An instruction's name, with the number of its sequence where there are several."""
        return name if number is None or len(self._sequences) == 1 else f"{name} [{number}]"

    def _gather(self, name: str, rows: NDArray[np.uint8], ids: int, *, add: bool = False, narrow: bool = False) -> None:
        """The rows of a table, packed, by the numbers at `ids`, for all tokens."""
        self._add(
            name,
            {
                "opcode": Op.GATHER,
                "add": int(add),
                "narrow": int(narrow),
                "tokens": self._tokens,
                "channels": self._hidden,
                "address": self._memory.share(name, rows),
                "beats": rows.shape[1] // self._c.port_bytes,
                "ids_address": ids,
            },
        )

    def _norm(self, norm: "Norm", first: int, tokens: int, of: int | None = None) -> None:
        """To the operand of linear layers where that is read, and to the residual where it normalises it."""
        units = parameter_units(
            norm.bias, norm.mult, norm.shift, norm.negate, norm.operand.factors if norm.operand else 0
        )
        packed = pack_parameters(self._c, units)
        fields: Fields = {
            "opcode": Op.NORM,
            "to_residual": int(norm.normalise and (self._norms_replace or norm.operand is None)),
            "normalise": int(norm.normalise),
            "tokens": tokens,
            "channels": self._hidden,
            "first_token": first,
            "address": self._memory.share(norm.name, packed),
            "beats": packed.shape[0] * packed.shape[1],
            "tile_beats": packed.shape[1],
            "epsilon": norm.epsilon,
        }
        if norm.operand:
            operand = self._plan.operand
            fields |= {
                "to_store": 1,
                "y_base": operand.at(first // self._c.rows),
                "y_pitch": operand.pitch,
                "rescale_shift": norm.operand.shift,
            }
        self._add(self._of(norm.name, of), fields)

    def _linear(
        self,
        layer: "Layer",
        x: Rows,
        y: Rows | None,
        *,
        first: int = 0,
        tokens: int | None = None,
        x_tile: int = 0,
        inputs: NDArray[np.int64] | None = None,
        outputs: NDArray[np.int64] | None = None,
        k: int | None = None,
        channels: int | None = None,
        rescale: "Rescale | None" = None,
        add: bool = True,
        part: str = "",
        of: int | None = None,
    ) -> None:
        """A product with weights from memory.

        Parameters
        ----------
        y : None for results that are added to the residual, or set it
        inputs, outputs : where the layer's inputs and outputs lie among `k` inputs and `channels` outputs
        rescale : behind the activation table
        """
        tokens = self._tokens if tokens is None else tokens
        bits = 8 if y else 16
        if layer.out_bits != bits:
            raise InputError(f"layer {layer.name} gives {layer.out_bits} bits, must be {bits}")
        weights, units = _spread_out(layer, inputs, outputs, k or layer.k, channels or layer.channels, rescale)
        product = Product(
            config=self._c,
            tokens=tokens,
            k=weights.shape[1],
            channels=len(weights),
            pattern_n=self._pattern(layer, weights),
        )
        address = self._memory.share(layer.name, pack_weights(product, weights, units))
        fields: Fields = {
            "opcode": Op.PRODUCT,
            "columns": Columns.MEMORY,
            "pattern_n": product.pattern_n,
            "tokens": tokens,
            "channels": product.channels,
            "first_token": first,
            "groups": product.groups,
            "x_base": x.at(x_tile),
            "x_pitch": x.pitch,
            "address": address,
            "beats": product.column_tiles * product.w_tile_beats,
            "tile_beats": product.w_tile_beats,
        }
        if y:
            fields |= {"to_store": 1, "y_base": y.at(), "y_pitch": y.pitch}
        else:
            fields |= {"to_residual": 1, "add": int(add)}
        if rescale:
            fields |= {"table": 1, "rescale_shift": rescale.shift}
        self._add(self._of(layer.name, of) + part, fields)

    def _pattern(self, layer: "Layer", weights: NDArray[np.int8]) -> int:
        """N of N:M as the weights are packed: the layer's own, unless another M or spread inputs break it."""
        m = self._c.m
        if layer.n == layer.m:
            return m
        groups = np.pad(weights, ((0, 0), (0, -weights.shape[1] % m))).reshape(len(weights), -1, m)
        needed = max(1, int(np.count_nonzero(groups, axis=2).max()))
        if layer.m == m and needed <= layer.n:
            return layer.n
        self._notes.append(f"layer {layer.name} is {layer.n}:{layer.m}, it is packed as {needed}:{m}")
        return needed

    def _table(self, name: str, which: int, entries: NDArray[np.integer]) -> None:
        """Load a table (0 activation, 1 exponential) unless it is there."""
        table = pack_table(self._c, entries)
        address = self._memory.share(name, table)
        if self._loaded.get(which) == address:
            return
        self._loaded[which] = address
        beats = len(table) // self._c.port_bytes
        self._add(name, {"opcode": Op.TABLE, "which": which, "address": address, "beats": beats})

    def _store(self, number: int, sequence: Placed, result: Result) -> None:
        self._add(
            self._of(f"store {result.name}", number),
            {
                "opcode": Op.STORE,
                "which": 1,
                "tokens": 1,
                "channels": result.channels,
                "first_token": sequence.first_token,
                "address": result.address + number * result.pitch,
            },
        )

    def _classify(self, layer: "Layer", number: int, sequence: Placed) -> None:
        """Of a sequence's first token: its operand becomes its logits."""
        self._linear(
            layer,
            self._plan.operand,
            None,
            first=sequence.first_token,
            tokens=1,
            x_tile=sequence.first_token // self._c.rows,
            add=False,
            of=number,
        )


def _spread_out(
    layer: "Layer",
    inputs: NDArray[np.int64] | None,
    outputs: NDArray[np.int64] | None,
    k: int,
    channels: int,
    rescale: "Rescale | None",
) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """Weights [channels, k] and units of parameters [channels, 8] of a layer, zeros between its inputs and outputs."""
    rows = np.arange(layer.channels) if outputs is None else outputs
    columns = np.arange(layer.k) if inputs is None else inputs
    weights = np.zeros((channels, k), np.int8)
    weights[np.ix_(rows, columns)] = layer.weights
    units = np.zeros((channels, 8), np.uint8)
    units[rows] = parameter_units(layer.bias, layer.mult, layer.shift, rescale=rescale.factors if rescale else 0)
    return weights, units
