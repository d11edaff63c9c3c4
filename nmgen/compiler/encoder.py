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

from nmgen.compiler.memory_map import ACTIVATIONS, Memory, Rows, Sizes, StorePlan, plan_store, words
from nmgen.compiler.planes import PLANES, Densities, pack_planes
from nmgen.compiler.program import Placed, Program, Result
from nmgen.compiler.program_check import check, check_others
from rtl.params import CHANNELS_MAX, SHIFT_MAX, InputError, ceil_div, round_up
from rtl.product import Product
from rtl.sta.isa import Columns, Instruction, Op, assemble
from rtl.sta.legality import max_heads, parameter_beats, store_row_beats
from rtl.sta.params import StaConfig
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

    def columns(self, heads: range, m: int) -> range:
        """Channels of some heads, with those between them; behind the last one of all up to the end of a group, which
        KEYS reads whole."""
        end = heads.stop * self.pitch
        if heads.stop == self.heads:
            end -= self.pitch - round_up(self.size, m)
        return range(heads.start * self.pitch, end)


@dataclass(frozen=True)
class _Spill:
    """Rows of activations in memory.

    Parameters
    ----------
    address : of token 0
    pitch : bytes from one token to the next
    groups : of a row
    """

    address: int
    pitch: int
    groups: int


@dataclass(frozen=True)
class _Weights:
    """A layer in memory.

    Parameters
    ----------
    address : of its column tiles; where the weights lie in planes, of the channels' parameters
    planes, pitch : address of the first column tile's planes, and beats from one tile's to the next
    """

    product: Product
    address: int
    planes: int = 0
    pitch: int = 0

    def fields(self, columns: range) -> Fields:
        """Of the PRODUCT of some of the channels, which begin with a column tile."""
        product, c = self.product, self.product.config
        first_tile, inside = divmod(columns.start, c.cols)
        assert inside == 0
        size = parameter_beats(c) if product.weight_groups else product.w_tile_beats
        found = {
            "pattern_n": product.pattern_n,
            "channels": len(columns),
            "groups": product.groups,
            "address": self.address + first_tile * size * c.port_bytes,
            "beats": ceil_div(len(columns), c.cols) * product.w_tile_beats,
            "tile_beats": product.w_tile_beats,
        }
        if product.weight_groups:
            found |= {
                "weight_groups": product.weight_groups,
                "planes_address": self.planes + first_tile * self.pitch * c.port_bytes,
                "planes_pitch": self.pitch,
            }
        return found


def finished(memory: Memory, programs: Sequence[Program]) -> Program:
    """The first of the programs, with the others as its `others`; all with their memory and checked."""
    image = memory.image()
    first, *others = (replace(program, memory=image) for program in programs)
    found = replace(first, others=tuple(others))
    check_others(found)  # what is written can be read
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
        densities: Densities | None = None,
    ) -> None:
        """memory : with the programs of the same model that are there already: what is the same is shared
        densities : of a model of several, whose weights lie in planes
        """
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
            Sizes(
                tiles=self._tiles,
                sequence_tiles=ceil_div(max(lengths), config.rows),
                keys=max(lengths),
                hidden=shape.hidden,
                inner=shape.intermediate,
                heads=shape.heads,
                head_pitch=self._spread.pitch,
            ),
        )
        self._memory, self._densities = memory, densities
        self._before = tuple(self._memory.regions)
        self._instructions: list[Instruction] = []
        self._names: list[str] = []
        self._notes: list[str] = []
        self._loaded: dict[int, int] = {}  # address of the table that each of the two memories holds
        self._packed: dict[str, _Weights] = {}  # layers in memory

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
        self._spills = self._spill_regions()
        self._note_plan()
        self._embeddings()
        for block in self._blocks:
            self._attention(block)
            for part in self._parts:
                self._behind_attention(block, part)
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
            "query_tokens": self._plan.query_tiles * self._c.rows,
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

    # --- parts ---------------------------------------------------------------------------------
    @property
    def _parts(self) -> list[Placed]:
        """The tokens whose operand the store holds at a time: all, or blocks of each sequence."""
        if not self._plan.spilled:
            return [Placed(0, self._tokens)]
        return [part for sequence in self._sequences for part in self._blocks_of(sequence, self._plan.query_tiles)]

    def _blocks_of(self, whole: Placed, tiles: int) -> list[Placed]:
        """Cut into so many token tiles each."""
        end, step = whole.first_token + whole.tokens, tiles * self._c.rows
        return [Placed(first, min(step, end - first)) for first in range(whole.first_token, end, step)]

    def _head_groups(self) -> list[range]:
        """Heads whose keys and values the store holds at a time."""
        heads, step = self._spread.heads, self._plan.heads
        return [range(first, min(first + step, heads)) for first in range(0, heads, step)]

    def _tile(self, part: Placed) -> int:
        """The token tile of its regions with which a part begins: each begins anew where they are of one part."""
        return 0 if self._plan.spilled else part.first_token // self._c.rows

    def _note_plan(self) -> None:
        plan, heads, tiles = self._plan, self._spread.heads, self._tiles
        if plan.heads < heads:
            self._notes.append(f"the store holds keys and values of {plan.heads} of {heads} heads at a time")
        if plan.spilled:
            size = self._tokens * sum(spill.pitch for spill in self._spills)
            self._notes.append(
                f"the store holds the activations of {plan.query_tiles} of {tiles} token tiles: {size:,} bytes of each "
                f"layer go to memory and come back, weights are read {_times(len(self._parts))}"
            )
            return
        longest = ceil_div(max(sequence.tokens for sequence in self._sequences), self._c.rows)
        if plan.query_tiles < longest:
            self._notes.append(
                f"the store holds the scores of {plan.query_tiles} of {longest} token tiles: keys and values are "
                f"copied {_times(ceil_div(longest, plan.query_tiles))}"
            )
        if plan.inner_tiles < tiles:
            self._notes.append(
                f"the store holds what is between the feed-forward layers for {plan.inner_tiles} of {tiles} token "
                f"tiles: their weights are read {_times(ceil_div(tiles, plan.inner_tiles))}"
            )

    # --- activations in memory -----------------------------------------------------------------
    def _spill_regions(self) -> list["_Spill"]:
        """Of the operand, and of the context of each group of heads; all are one region of memory."""
        if not self._plan.spilled:
            return []
        c = self._c
        groups = [ceil_div(self._hidden, c.m)]
        groups += [len(heads) * self._spread.pitch // c.m for heads in self._head_groups()]
        pitches = [store_row_beats(c, each) * c.port_bytes for each in groups]
        address = self._memory.scratch(ACTIVATIONS, sum(pitches) * self._tokens)
        spills = []
        for each, pitch in zip(groups, pitches, strict=True):
            spills.append(_Spill(address, pitch, each))
            address += pitch * self._tokens
        return spills

    def _move(self, op: Op, name: str, spill: "_Spill", part: Placed, rows: Rows) -> None:
        """STORE to memory, or LOAD from there."""
        fields: Fields = {
            "opcode": op,
            "tokens": part.tokens,
            "first_token": part.first_token,
            "groups": spill.groups,
            "address": spill.address + part.first_token * spill.pitch,
        }
        if op == Op.STORE:
            fields |= {"x_base": rows.base, "x_pitch": rows.pitch}
        else:
            beats = part.tokens * spill.pitch // self._c.port_bytes
            fields |= {"y_base": rows.base, "y_pitch": rows.pitch, "beats": beats}
        self._add(f"{op.name.lower()} {name}{self._tokens_of(part)}", fields)

    def _spill_operand(self, part: Placed) -> None:
        if self._plan.spilled:
            self._move(Op.STORE, "operand", self._spills[0], part, self._plan.operand)

    def _fetch_operand(self, part: Placed) -> Rows:
        """Where the operand is, in the store again."""
        if self._plan.spilled:
            self._move(Op.LOAD, "operand", self._spills[0], part, self._plan.operand)
        return self._plan.operand.behind(self._tile(part))

    def _fetch_context(self, part: Placed) -> Rows:
        plan = self._plan
        if plan.spilled:
            for heads, spill in zip(self._head_groups(), self._spills[1:], strict=True):
                rows = plan.context.behind(word=heads.start * self._spread.pitch // self._c.store_word_bytes)
                self._move(Op.LOAD, f"context{self._heads_of(heads)}", spill, part, rows)
        return plan.context.behind(self._tile(part))

    # --- a block -------------------------------------------------------------------------------
    def _attention(self, block: "BlockParameters") -> None:
        """From the operand to the context."""
        for number, heads in enumerate(self._head_groups()):
            if self._plan.spilled:
                self._spilled_heads(block, heads, self._spills[1 + number])
            else:
                self._resident_heads(block, heads)

    def _resident_heads(self, block: "BlockParameters", heads: range) -> None:
        plan = self._plan
        (part,) = self._parts
        word = heads.start * self._spread.pitch // self._c.store_word_bytes
        self._project(block.query, heads, part, plan.operand, plan.queries.behind(word=word))
        self._project(block.key, heads, part, plan.operand, plan.keys)
        self._project(block.value, heads, part, plan.operand, plan.values)
        self._block_tables(block)
        for number, sequence in enumerate(self._sequences):
            tile = sequence.first_token // self._c.rows
            for queries in self._blocks_of(sequence, plan.query_tiles):
                own = plan.queries.behind(self._tile(queries), word)
                self._heads_attention(block, number, sequence, heads, queries, own, tile)

    def _spilled_heads(self, block: "BlockParameters", heads: range, spill: "_Spill") -> None:
        """Keys and values of a sequence, block after block of tokens; then its queries, as many at a time."""
        plan = self._plan
        self._block_tables(block)
        for number, sequence in enumerate(self._sequences):
            parts = self._blocks_of(sequence, plan.query_tiles)
            for part in parts:
                tile = (part.first_token - sequence.first_token) // self._c.rows
                operand = self._fetch_operand(part)
                self._project(block.key, heads, part, operand, plan.keys.behind(tile))
                self._project(block.value, heads, part, operand, plan.values.behind(tile))
            # The last one's operand is still there.
            for part in (parts[-1], *parts[:-1]):
                if part != parts[-1]:
                    operand = self._fetch_operand(part)
                self._project(block.query, heads, part, operand, plan.queries)
                self._heads_attention(block, number, sequence, heads, part, plan.queries, 0)
                self._move(Op.STORE, f"context{self._heads_of(heads)}", spill, part, plan.queries)

    def _project(self, layer: "Layer", heads: range, part: Placed, x: Rows, y: Rows) -> None:
        """Queries, keys or values of some heads: zero channels between these."""
        spread = self._spread
        self._linear(
            layer,
            x,
            y,
            part,
            outputs=spread.channels,
            channels=spread.columns(range(spread.heads), self._c.m).stop,
            columns=spread.columns(heads, self._c.m),
            named=self._heads_of(heads),
        )

    def _block_tables(self, block: "BlockParameters") -> None:
        self._table(f"{block.name}.attention.self.exponential", 1, block.exponential)
        self._table(f"{block.name}.intermediate.table", 0, block.table)

    def _heads_attention(
        self,
        block: "BlockParameters",
        number: int,
        sequence: Placed,
        heads: range,
        queries: Placed,
        rows: Rows,
        tile: int,
    ) -> None:
        """Scores and context of a block of queries over all keys of its sequence, as many heads at a time as there is
        room for.

        Parameters
        ----------
        heads : those that lie side by side
        rows : the queries, of the block's first token tile and the first of these heads
        tile : token tile of keys and values with which the sequence begins
        """
        plan, c = self._plan, self._c
        head_words = self._spread.pitch // c.store_word_bytes
        score_words, tiles = words(c, sequence.tokens), ceil_div(queries.tokens, c.rows)
        most = max(1, min(plan.score_words // (score_words * tiles), max_heads(c, tiles), len(heads)))
        step = ceil_div(len(heads), ceil_div(len(heads), most))
        named = "" if queries == sequence else self._range_of(queries)
        for first in range(heads.start, heads.stop, step):
            batch = range(first, min(first + step, heads.stop))
            word = (first - heads.start) * head_words
            keys, values, own = plan.keys.behind(tile, word), plan.values.behind(tile, word), rows.behind(word=word)
            scores = Rows(plan.scores, step * score_words)
            suffix = f".{first}" if len(batch) == 1 else self._heads_of(batch)
            common = {
                "opcode": Op.PRODUCT,
                "to_store": 1,
                "pattern_n": c.m,
                "tokens": queries.tokens,
                "first_token": queries.first_token,
                "more_heads": len(batch) - 1,
            }
            self._add(
                self._of(f"{block.name}.attention.self.scores{suffix}{named}", number),
                common
                | {
                    "columns": Columns.KEYS,
                    "maximum": 1,
                    "channels": sequence.tokens,
                    "groups": ceil_div(self._spread.size, c.m),
                    "x_base": own.base,
                    "x_pitch": own.pitch,
                    "c_base": keys.base,
                    "c_pitch": keys.pitch,
                    "y_base": scores.base,
                    "y_pitch": scores.pitch,
                    "mult": block.scores.mult,
                    "shift": block.scores.shift,
                },
            )
            self._add(
                self._of(f"{block.name}.attention.self.context{suffix}{named}", number),
                common
                | {
                    "columns": Columns.VALUES,
                    "channels": self._spread.size,
                    "groups": ceil_div(sequence.tokens, c.m),
                    "x_base": scores.base,
                    "x_pitch": scores.pitch,
                    "c_base": values.base,
                    "c_pitch": values.pitch,
                    "y_base": own.base,
                    "y_pitch": own.pitch,
                    "mult": block.context.mult,
                    "shift": block.context.shift,
                    "keys": sequence.tokens,
                },
            )

    def _behind_attention(self, block: "BlockParameters", part: Placed) -> None:
        """From the context of some tokens to the operand of the next block."""
        spread = self._spread
        context = self._fetch_context(part)
        self._linear(block.attention_output, context, None, part, inputs=spread.channels, k=spread.width)
        self._norm(block.attention_norm, part)
        for inner in self._blocks_of(part, self._plan.inner_tiles):
            tile = self._tile(part) + (inner.first_token - part.first_token) // self._c.rows
            operand, between = self._plan.operand.behind(tile), self._plan.inner
            self._linear(block.intermediate, operand, between, inner, rescale=block.table_rescale)
            self._linear(block.output, between, None, inner)
        self._norm(block.output_norm, part)
        if block.output_norm.operand:
            self._spill_operand(part)

    # --- single instructions -------------------------------------------------------------------
    def _add(self, name: str, fields: Instruction) -> None:
        self._names.append(name)
        self._instructions.append({key: value for key, value in fields.items() if value})

    def _of(self, name: str, number: int | None) -> str:
        """An instruction's name, with the number of its sequence where there are several."""
        return name if number is None or len(self._sequences) == 1 else f"{name} [{number}]"

    def _range_of(self, part: Placed) -> str:
        return f" tokens {part.first_token}-{part.first_token + part.tokens - 1}"

    def _tokens_of(self, part: Placed) -> str:
        """What an instruction's name says of its tokens where they are not all."""
        return "" if part.tokens == self._tokens else self._range_of(part)

    def _heads_of(self, heads: range) -> str:
        return "" if len(heads) == self._spread.heads else f" heads {heads.start}-{heads.stop - 1}"

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

    def _first_operand(self, norm: "Norm") -> None:
        """Of all tokens, for the first block."""
        for part in self._parts:
            self._norm(norm, part)
            self._spill_operand(part)

    def _norm(self, norm: "Norm", part: Placed, of: int | None = None) -> None:
        """To the operand of linear layers where that is read, and to the residual where it normalises it."""
        units = parameter_units(
            norm.bias, norm.mult, norm.shift, norm.negate, norm.operand.factors if norm.operand else 0
        )
        packed = pack_parameters(self._c, units)
        fields: Fields = {
            "opcode": Op.NORM,
            "to_residual": int(norm.normalise and (self._norms_replace or norm.operand is None)),
            "normalise": int(norm.normalise),
            "tokens": part.tokens,
            "channels": self._hidden,
            "first_token": part.first_token,
            "address": self._memory.share(norm.name, packed),
            "beats": packed.shape[0] * packed.shape[1],
            "tile_beats": packed.shape[1],
            "epsilon": norm.epsilon,
        }
        if norm.operand:
            operand = self._plan.operand
            fields |= {
                "to_store": 1,
                "y_base": operand.behind(self._tile(part)).base,
                "y_pitch": operand.pitch,
                "rescale_shift": norm.operand.shift,
            }
        named = "" if of is not None else self._tokens_of(part)
        self._add(self._of(norm.name, of) + named, fields)

    def _linear(
        self,
        layer: "Layer",
        x: Rows,
        y: Rows | None,
        part: Placed,
        *,
        inputs: NDArray[np.int64] | None = None,
        outputs: NDArray[np.int64] | None = None,
        k: int | None = None,
        channels: int | None = None,
        columns: range | None = None,
        rescale: "Rescale | None" = None,
        add: bool = True,
        named: str = "",
        of: int | None = None,
    ) -> None:
        """A product with weights from memory.

        Parameters
        ----------
        x, y : of the part's first token tile; no y for results that are added to the residual, or set it
        inputs, outputs : where the layer's inputs and outputs lie among `k` inputs and `channels` outputs
        columns : those of the channels that are computed; they begin with a column tile
        rescale : behind the activation table
        """
        c = self._c
        bits = 8 if y else 16
        if layer.out_bits != bits:
            raise InputError(f"layer {layer.name} gives {layer.out_bits} bits, must be {bits}")
        if layer.name not in self._packed:
            width, height = k or layer.k, channels or layer.channels
            weights, units = _spread_out(layer, inputs, outputs, width, height, rescale)
            found = None
            if self._densities and (every := self._densities.of(layer.name)):
                if layer.name not in self._densities.packed:
                    matrices = [_spread_out(one, inputs, outputs, width, height, None)[0] for one in every]
                    self._densities.packed[layer.name] = pack_planes(c, matrices)
                found = self._in_planes(layer.name, self._densities, units)
            if found is None:
                pattern_n = self._pattern(layer, weights)
                product = Product(config=c, tokens=1, k=width, channels=height, pattern_n=pattern_n)
                found = _Weights(product, self._memory.weights(layer.name, product, weights, units))
            self._packed[layer.name] = found
        packed = self._packed[layer.name]
        fields: Fields = {
            "opcode": Op.PRODUCT,
            "columns": Columns.MEMORY,
            "tokens": part.tokens,
            "first_token": part.first_token,
            "x_base": x.base,
            "x_pitch": x.pitch,
            **packed.fields(columns or range(packed.product.channels)),
        }
        if y:
            fields |= {"to_store": 1, "y_base": y.base, "y_pitch": y.pitch}
        else:
            fields |= {"to_residual": 1, "add": int(add)}
        if rescale:
            fields |= {"table": 1, "rescale_shift": rescale.shift}
        if of is None:
            named += self._tokens_of(part)
        self._add(self._of(layer.name, of) + named, fields)

    def _in_planes(self, name: str, densities: Densities, units: NDArray[np.uint8]) -> _Weights | None:
        """A layer of this density, over the planes of all; None where these cost steps."""
        packed = densities.packed[name]
        if packed is None:
            self._notes.append(
                f"layer {name} is there once for each density: its planes are no multiples of N values a group"
            )
            return None
        products, planes = packed
        return _Weights(
            products[densities.chosen],
            self._memory.share(f"{name} parameters", pack_parameters(self._c, units)),
            self._memory.share(name + PLANES, planes),
            planes.shape[1],
        )

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
        part = Placed(sequence.first_token, 1)
        self._linear(layer, self._plan.operand.behind(self._tile(part)), None, part, add=False, of=number)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


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
