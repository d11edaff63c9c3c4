"""What the contents of a program must be, so that every command may use them as they are.

Types and bounds of single entries are checked where a file is read (`nmgen.compiler.program`); here is what belongs
together, and every instruction, by the hardware's own rules (`rtl.sta.legality`).
"""

from collections.abc import Sequence
from itertools import pairwise, permutations
from typing import TYPE_CHECKING

import numpy as np

from nmgen.compiler.memory_map import ACTIVATIONS, ALIGNMENT
from rtl.params import SHIFT_MAX, InputError, ceil_div, round_up
from rtl.sta.isa import BYTES, Columns, Op, decode
from rtl.sta.legality import ID_BYTES, fault, outside, residual_row_beats, store_row_beats
from sim.image.product import Region

if TYPE_CHECKING:
    from nmgen.compiler.program import Program

INSTRUCTIONS_MAX = 1 << 19
OTHERS_MAX = 256  # programs in a file beside the first: of shorter sequences, of sparser densities
DENSITY = "density"  # in `about` of a program whose weights lie in planes
WORK_MAX = 1 << 30  # beats and tiles of all instructions: a quarter of an hour of `nmgen estimate`

Fields = dict[str, int]


def check(program: "Program") -> None:
    """InputError, which names what and the bound, unless all of a program fits together and each instruction is legal.

    Its memory holds what the host has not filled in yet; what an instruction computes is not looked at.
    """
    _check_sequences(program)
    _check_regions(program)
    _check_results(program)
    _check_about(program)
    _Instructions(program).check()


def check_others(program: "Program") -> None:
    """InputError unless the programs of a file are those of one model, ever shorter, each of these the same lengths at
    each density, and do not meet in memory.

    Each is checked by itself, too: see `check`.
    """
    if len(program.others) > OTHERS_MAX:
        raise InputError(f"{len(program.others)} other programs, must be at most {OTHERS_MAX}")
    if (count := sum(len(one.names) for one in program.every)) > INSTRUCTIONS_MAX:
        raise InputError(f"all programs have {count:,} instructions, must have at most {INSTRUCTIONS_MAX:,}")
    first = (program, *program.shorter)
    for begin in range(0, len(program.every), len(first)):
        own = program.every[begin : begin + len(first)]
        if [(_lengths(one), one.density) for one in own] != [(_lengths(one), own[0].density) for one in first]:
            raise InputError(f"density {own[0].density} has not the lengths that {program.density} has, in their order")
        if _shape(own[0]) != _shape(program):
            raise InputError(f"density {own[0].density} is of another model than {program.density}")
        _check_lengths(own)
    if 1 < len(program.every) // len(first) != len(program.densities):
        raise InputError(f"densities are {', '.join(program.densities)}, must be different ones")
    for mine, theirs in permutations(program.every, 2):
        begins, ends = np.array([(other.address, other.end) for other in theirs.regions]).T
        for region in (*map(mine.region, own_regions(mine)), *activations(mine)):
            for i in np.flatnonzero((region.address < ends) & (begins < region.end)):
                if region.name != ACTIVATIONS or theirs.regions[i].name != ACTIVATIONS:
                    raise InputError(f"region {region.name} of one program lies on {theirs.regions[i].name} of another")


def _lengths(program: "Program") -> list[int]:
    """Tokens of its sequences."""
    return [sequence.tokens for sequence in program.sequences]


def _check_lengths(programs: "Sequence[Program]") -> None:
    """InputError unless those of one density are ever shorter."""
    for longer, one in pairwise(programs):
        counts = _lengths(longer), _lengths(one)
        if len(counts[0]) != len(counts[1]) or any(a <= b for a, b in zip(*counts, strict=True)):
            raise InputError(f"sequences of {counts[1]} tokens behind {counts[0]}: must be as many, each of fewer")
        if _model(longer) != _model(one):
            raise InputError(f"the program for {counts[1]} tokens is of another model than that for {counts[0]}")


def _shape(program: "Program") -> tuple[object, ...]:
    """What programs of one model at any density have in common."""
    facts = {name: program.about.get(name) for name in ("hidden", "layers", "heads", "intermediate", "vocabulary")}
    return program.takes_pictures, facts, [(one.name, one.channels) for one in program.results]


def _model(program: "Program") -> tuple[object, ...]:
    """What programs of one model have in common."""
    facts = {name: value for name, value in program.about.items() if name not in ("store_words_used", "query_tokens")}
    return program.takes_pictures, facts, [(one.name, one.channels, one.scale) for one in program.results]


def own_regions(program: "Program") -> tuple[str, ...]:
    """Names of the regions that no other program of a file has a part in."""
    return ("program", program.host_region.name, *(result.name for result in program.results))


def activations(program: "Program") -> list[Region]:
    """What a run writes beside its results, if anything. No run reads another one's: programs of a file share it."""
    return [region for region in program.regions if region.name == ACTIVATIONS]


def _check_regions(program: "Program") -> None:
    end = 0
    for region in program.regions:
        if region.address < end or region.address % ALIGNMENT:
            raise InputError(
                f"region {region.name} begins at {region.address}, must at a multiple of {ALIGNMENT}, {end} or more"
            )
        end = region.end
    if end > len(program.memory):
        raise InputError(f"region {program.regions[-1].name} ends at {end}, the memory at {len(program.memory)}")
    _expect_region(program, "program", program.address, BYTES * (len(program.names) + 1))
    tokens = program.sequences[-1].first_token + program.sequences[-1].tokens
    host = "patches" if program.takes_pictures else "ids"
    token_bytes = program.about.get("patch_bytes", 0) if program.takes_pictures else ID_BYTES
    _expect_region(program, host, program.region(host).address, token_bytes * tokens)


def _expect_region(program: "Program", name: str, address: int, size: int) -> None:
    if [region for region in program.regions if region.name == name] != [Region(name, address, size)]:
        raise InputError(f"region {name} must be there once, {size} bytes from {address} on")


def _check_sequences(program: "Program") -> None:
    first, c = 0, program.config
    for number, sequence in enumerate(program.sequences):
        if sequence.first_token != first or not 1 <= sequence.tokens <= c.max_tokens - first:
            raise InputError(
                f"sequence {number} has {sequence.tokens} tokens from {sequence.first_token} on, must have 1 to "
                f"{c.max_tokens - first} from {first} on"
            )
        first = round_up(first + sequence.tokens, c.rows)


def _check_results(program: "Program") -> None:
    names = [result.name for result in program.results]
    wanted = (["logits"], ["embedding"]) if program.takes_pictures else (["embedding"], ["embedding", "logits"])
    if names not in wanted:
        raise InputError(f"results are {names}, must be {' or '.join(map(str, wanted))}")
    for result in program.results:
        pitch = round_up(2 * result.channels, program.config.port_bytes)
        if result.pitch != pitch or result.channels > program.config.hidden:
            raise InputError(
                f"result {result.name} has {result.channels} channels in {result.pitch} bytes, must have at most "
                f"{program.config.hidden} in {pitch}"
            )
        _expect_region(program, result.name, result.address, pitch * len(program.sequences))


def _check_about(program: "Program") -> None:
    """The facts that a host needs; others may stand beside them."""
    about, c = program.about, program.config
    if not program.takes_pictures:
        if program.results[0].channels != about["hidden"]:
            raise InputError(f"the embedding has {program.results[0].channels} channels, the model {about['hidden']}")
        return
    side, patch, pixels = about["image"], about["patch_side"], about["patch"]
    tokens = (side // patch) ** 2 + 1
    if side % patch or any(sequence.tokens != tokens for sequence in program.sequences):
        raise InputError(f"pictures of {side} pixels a side in patches of {patch} are not the tokens of each sequence")
    if pixels != about["channels"] * patch**2 or about["patch_bytes"] != round_up(round_up(pixels, c.m), c.port_bytes):
        raise InputError(
            f"a patch of {pixels} pixels in {about['patch_bytes']} bytes is not of {patch} x {patch} pixels"
        )
    classes = about.get("classes", [])
    if classes and len(classes) != program.results[0].channels:
        raise InputError(f"{len(classes)} names of classes, must be {program.results[0].channels} or none")


class _Instructions:
    """The instructions of a program, one after another."""

    def __init__(self, program: "Program") -> None:
        self._program, self._c = program, program.config
        self._limit = len(program.memory)
        self._written: set[tuple[str, int]] = set()  # results of sequences
        self._work = 0

    def check(self) -> None:
        last = len(self._program.names)
        for number in range(last + 1):
            at = self._program.address + number * BYTES
            code = self._program.memory[at : at + BYTES]
            name = self._program.names[number] if number < last else "the end"
            try:
                if cause := fault(self._c, code, self._limit):
                    raise InputError(f"is illegal: {cause.name}")
                self._check(decode(code), ends=number == last)
            except InputError as error:
                raise InputError(f"instruction {number}, {name}, {error}") from None
        for result in self._program.results:
            for number in range(len(self._program.sequences)):
                if (result.name, number) not in self._written:
                    raise InputError(f"no instruction writes result {result.name} of sequence {number}")

    def _check(self, f: Fields, *, ends: bool) -> None:
        op = Op(f["opcode"])
        if (op == Op.END) != ends:
            raise InputError(f"is {op.name}, the program ends at {self._program.names[-1]}")
        copies = op == Op.PRODUCT and f["columns"] != Columns.MEMORY
        if copies or op == Op.POOL:
            self._check_sequence(f)
        if op == Op.STORE:
            self._check_written(f)
        if op == Op.GATHER:
            self._check_rows(f)
        self._work += self._work_of(op, f, copies)
        if self._work > WORK_MAX:
            raise InputError(f"is behind more than {WORK_MAX:,} beats and tiles: the program is too long")

    def _check_sequence(self, f: Fields) -> None:
        """Attention and pooling are of one sequence, whose length the host may shorten; queries may come in blocks."""
        scores, context = (f["opcode"] == Op.PRODUCT and f["columns"] == one for one in (Columns.KEYS, Columns.VALUES))
        first, counted = f["first_token"], [f["tokens"]]
        block = self._c.max_tokens
        if scores or context:
            counted.append(f["channels"] if scores else f["keys"])
            block = self._program.about["query_tokens"]
        owner = next((one for one in self._program.sequences if one.first_token <= first < one.end), None)
        tokens = owner.tokens if owner else 0
        before = first - owner.first_token if owner else 0
        if before % block or counted != [min(block, tokens - before), tokens][: len(counted)]:
            raise InputError(f"is of tokens {counted} from {first} on, must be of a sequence")
        bits = (255 * tokens).bit_length()  # of the sum of a row's exponentials, by which it divides
        if context and f["shift"] + bits - 1 > SHIFT_MAX:
            raise InputError(
                f"has a shift of {f['shift']}, with {tokens} keys must have at most {SHIFT_MAX + 1 - bits}"
            )

    def _check_written(self, f: Fields) -> None:
        """A STORE writes results and activations and nothing else: all else that is read is what is in the file."""
        c, tokens = self._c, f["tokens"]
        size = 2 * f["channels"] if f["which"] else f["groups"] * c.m
        beats = residual_row_beats(c, f["channels"]) if f["which"] else store_row_beats(c, f["groups"])
        for region in activations(self._program):
            if region.address <= f["address"] and f["address"] + tokens * beats * c.port_bytes <= region.end:
                return
        for result in self._program.results:
            number, offset = divmod(f["address"] - result.address, result.pitch)
            rows = tokens == 1 or beats * c.port_bytes == result.pitch
            within = 0 <= number <= len(self._program.sequences) - tokens
            if rows and within and (offset, size) == (0, 2 * result.channels):
                self._written |= {(result.name, number + row) for row in range(tokens)}
                return
        raise InputError(
            f"writes {tokens} x {size} bytes from {f['address']} on, must write results, or activations, alone"
        )

    def _check_rows(self, f: Fields) -> None:
        """Every row that a GATHER may be asked for lies in memory, and no STORE says which."""
        ids_end = f["ids_address"] + ID_BYTES * f["tokens"]
        for region in activations(self._program):
            if f["ids_address"] < region.end and region.address < ids_end:
                raise InputError(f"takes its rows' numbers from {f['ids_address']} on, where activations are")
        memory = np.frombuffer(self._program.memory, np.uint8)
        last = int(memory[f["ids_address"] :][: ID_BYTES * f["tokens"]].view("<u4").max())
        if not self._program.takes_pictures:
            ids = self._program.region("ids")
            if f["ids_address"] < ids.end and ids.address < ids_end:
                last = max(last, self._program.about["vocabulary"] - 1)
        row = f["beats"] * self._c.port_bytes
        if outside(self._c, f["address"] + last * row, f["beats"], self._limit):
            raise InputError(
                f"reads row {last} of {row} bytes from {f['address']} on, the memory ends at {self._limit}"
            )

    def _work_of(self, op: Op, f: Fields, copies: bool) -> int:
        c, tokens = self._c, f["tokens"]
        if op == Op.GATHER:
            return tokens * (f["beats"] + 1)
        if op == Op.STORE:
            return tokens * (residual_row_beats(c, f["channels"]) if f["which"] else store_row_beats(c, f["groups"]))
        column_tiles, token_tiles = ceil_div(f["channels"], c.cols), ceil_div(tokens, c.rows)
        if copies:
            return (f["more_heads"] + 1) * column_tiles * f["groups"] * (token_tiles + max(c.cols, f["keys"]))
        tiles = {Op.PRODUCT: column_tiles * token_tiles, Op.NORM: column_tiles * tokens}.get(op, tokens)
        return f["beats"] + tiles
