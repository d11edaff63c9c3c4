"""Sentences for a program: texts or files of ids to as many ids as each of its sequences takes."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from nmgen.compiler.program import Program
from pruning.files.reading import read_json
from rtl.params import InputError, ceil_div
from rtl.sta.isa import BYTES, Columns, Op, encode

if TYPE_CHECKING:
    from pruning.files.tokenizer import Tokenizer

Ids = list[list[int]]


def ids_of_texts(program: Program, texts: Sequence[str]) -> Ids:
    """The token ids of each text, special ones included.

    Raises
    ------
    InputError : the program has no tokenizer, or one that is none.
    """
    if not program.tokenizer:
        raise InputError("the program has no tokenizer: give --ids")
    try:
        from pruning.files.tokenizer import ids_of
    except ModuleNotFoundError:
        raise InputError("--text needs tokenizers, which is not installed: pip install 'nmgen[prune]'") from None
    tokenizer = _opened(program.tokenizer)
    return [ids_of(tokenizer, text) for text in texts]


@lru_cache(maxsize=1)
def _opened(tokenizer: str) -> "Tokenizer":
    """Once for all the runs of a program: it takes longer than a run."""
    from pruning.files.tokenizer import open_tokenizer

    return open_tokenizer(tokenizer, "the program's tokenizer is none")


def read_ids(path: Path) -> Ids:
    """The lists of ids, one a sequence, in a JSON file; one list alone is one sequence."""
    found = read_json(path)
    if isinstance(found, list) and found and not any(isinstance(row, list) for row in found):
        found = [found]
    whole = isinstance(found, list) and all(isinstance(row, list) for row in found)
    if not whole or any(type(token) is not int for row in found for token in row):
        raise InputError(f"{path} holds no lists of token ids, such as [[101, 7592, 102]]")
    return [list(row) for row in found]


def fitted(program: Program, ids: Sequence[Sequence[int]]) -> tuple[Program, Ids]:
    """The program for sequences of these lengths, and ids that fill it.

    A shorter sequence is padded, and the program's copy attends to its own tokens alone and pools them: a host does
    this before it starts the program.

    Raises
    ------
    InputError : not as many sequences as the program is compiled for, an empty or a longer one, an id beyond the
        vocabulary.
    """
    sequences = program.sequences
    if len(ids) != len(sequences):
        raise InputError(f"{_count(len(ids))}, the program is compiled for {len(sequences)}")
    for number, (row, sequence) in enumerate(zip(ids, sequences, strict=True), start=1):
        if not 1 <= len(row) <= sequence.tokens:
            raise InputError(
                f"sequence {number} has {len(row)} tokens, the program is compiled for 1 to {sequence.tokens}"
            )
        if wrong := [token for token in row if not 0 <= token < program.about["vocabulary"]]:
            raise InputError(
                f"sequence {number} has token id {wrong[0]}, must be from 0 to {program.about['vocabulary'] - 1}"
            )
    padded = [[*row, *[0] * (sequence.tokens - len(row))] for row, sequence in zip(ids, sequences, strict=True)]
    return _shortened(program, [len(row) for row in ids]), padded


def _shortened(program: Program, lengths: Sequence[int]) -> Program:
    """The program that attends to and pools only this many tokens of each sequence."""
    if list(lengths) == [sequence.tokens for sequence in program.sequences]:
        return program
    memory = bytearray(program.memory)
    for number, instruction in enumerate(program.instructions):
        first = instruction.get("first_token", 0)
        for sequence, tokens in zip(program.sequences, lengths, strict=True):
            if not sequence.first_token <= first < sequence.end:
                continue
            if change := _change(program, instruction, tokens, first - sequence.first_token):
                at = program.address + number * BYTES
                memory[at : at + BYTES] = encode({**instruction, **change})
    return replace(program, memory=bytes(memory))


def _change(program: Program, instruction: dict[str, int], tokens: int, before: int) -> dict[str, int]:
    """What changes in an instruction of a sequence that has fewer tokens, `before` of them before the instruction's.

    Of a block of queries that are all beyond the text one is computed, and not read.
    """
    from pruning.encoder.parameters import pool_factor

    opcode, columns = instruction.get("opcode"), instruction.get("columns", 0)
    queries = max(1, min(program.about["query_tokens"], tokens - before))
    if opcode == Op.PRODUCT and columns == Columns.KEYS:
        return {"tokens": queries, "channels": tokens}
    if opcode == Op.PRODUCT and columns == Columns.VALUES:
        return {"tokens": queries, "keys": tokens, "groups": ceil_div(tokens, program.config.m)}
    if opcode == Op.POOL:
        factor = pool_factor(tokens)
        return {"tokens": tokens, "mult": factor.mult, "shift": factor.shift}
    return {}


def _count(sequences: int) -> str:
    return f"{sequences} sequence" + ("s" if sequences != 1 else "")
