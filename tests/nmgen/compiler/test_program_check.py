"""Programs whose checksum is right and whose contents are not: every command refuses them in one line at once."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmgen.cli import main
from nmgen.compiler import program as programs
from nmgen.compiler.memory_map import ACTIVATIONS
from nmgen.compiler.program import OTHERS, PARTS, Program
from nmgen.estimate.cycles import estimate
from nmgen.families.bert.compiler import compile_encoder
from nmgen.families.bert.sentences import fitted
from nmgen.families.vit.compiler import compile_vit
from pruning.families.bert.parameters import integer_parameters
from pruning.families.vit.shape import ViTShape
from rtl.params import InputError
from rtl.sta.isa import BYTES, Op, decode, encode
from rtl.sta.params import StaConfig
from sim.golden.machine import Machine
from tests.fuzz.containers import Container
from tests.nmgen.compiler.test_compile import said_of
from tests.nmgen.encoders import artefact
from tests.pruning import vits

CONFIG = StaConfig(n=2, m=8, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=16, max_k=64, hidden=16, store_words=128)
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def text() -> Program:
    """Of two sequences, 7 and 5 tokens, with logits."""
    whole = artefact(16, 2, 24, layers=1, pattern="2:8", classes=3)
    return compile_encoder(integer_parameters(whole), CONFIG, [7, 5], {"model": "small"})


@pytest.fixture(scope="module")
def pictures() -> Program:
    shape = ViTShape(image=8, patch=4, hidden=16, layers=1, heads=2, intermediate=24, labels=3)
    return compile_vit(vits.parameters(shape), CONFIG, 2, {"classes": ["a", "b", "c"]})


def signed(program: Program, change: Change = lambda parts: None, memory: bytes | None = None) -> bytes:
    """The file with another memory, and with its parts changed; its checksum is theirs."""
    file = Container.of(program.to_bytes())
    assert file.metadata
    parts = {name: json.loads(file.metadata[name]) for name in (*PARTS, OTHERS) if name in file.metadata}
    change(parts)
    file.metadata |= {name: json.dumps(part, separators=(",", ":")) for name, part in parts.items()}
    if memory is not None:
        file.tensors[0].data, file.tensors[0].shape = memory, [len(memory)]
    file.sign()
    return file.to_bytes()


def refused(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        programs.from_bytes(data)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def put(*path: Any) -> Change:
    """The last word of a path goes where the others lead."""

    def change(parts: dict[str, Any]) -> None:
        place: Any = parts
        for key in path[:-2]:
            place = place[key]
        place[path[-2]] = path[-1]

    return change


def cut(*path: Any) -> Change:
    def change(parts: dict[str, Any]) -> None:
        place: Any = parts
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


def region(name: str, /, **parts: Any) -> Change:
    def change(found: dict[str, Any]) -> None:
        (one,) = (one for one in found["regions"] if one[0] == name)
        for key, value in parts.items():
            one[("name", "address", "size").index(key)] = value

    return change


def test_good_ones_are_read(text: Program, pictures: Program) -> None:
    for program in (text, pictures):
        assert programs.from_bytes(signed(program)).instructions == program.instructions


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("sequences", [[0, 10**9]]), "sequence 0 is 1000000000, must be an integer from 0 to 16"),
        (put("sequences", [[0, -5], [8, 5]]), "sequence 0 is -5, must be an integer from 0 to 16"),
        (put("sequences", [[0, "7"], [8, 5]]), "sequence 0 is '7', must be an integer from 0 to 16"),
        (put("sequences", [[0, True], [8, 5]]), "sequence 0 is True, must be an integer from 0 to 16"),
        (put("sequences", [[0, 7], [6, 5]]), "sequence 1 has 5 tokens from 6 on, must have 1 to 8 from 8 on"),
        (put("sequences", [[0, 7], [8, 0]]), "sequence 1 has 0 tokens from 8 on, must have 1 to 8 from 8 on"),
        (put("sequences", []), r"sequences is \[\], must be a list of 1 to 16"),
        (put("sequences", {"0": 7}), "sequences is {'0': 7}, must be a list of 1 to 16"),
        (region("ids", size=0), "size of region ids is 0, must be an integer from 1 to"),
        (region("ids", size=51), "region ids must be there once, 52 bytes from 0 on"),
        (region("program", address=10**9), "address of region program is 1000000000, must be an integer from 0 to"),
        (region("program", address=1), r"region program begins at 1, must at a multiple of 64, \d+ or more"),
        (region("program", size=10**4), "size of region program is 10000, must be an integer from 1 to"),
        (region("program", name="code"), "region program must be there once"),
        (region("embedding", address="x"), "address of region embedding is 'x', must be an integer"),
        (region("embedding", name=7), "name of a region is 7, must be a text"),
        (cut("regions", 0), "the program has no region 'ids'"),
        (cut("regions", 1, 2), r"region 1 is \['embedding', \d+\], must be a list of 3"),
        (put("regions", []), r"regions is \[\], must be a list of 1 to"),
        (put("address", 64), "region program must be there once"),
        (put("address", 1.5), "address is 1.5, must be an integer"),
        (put("names", 0, 5), "name of an instruction is 5, must be a text of 1 to 1000 printable characters"),
        (put("names", 0, "a\x1b[31m"), r"name of an instruction is 'a\\x1b\[31m', must be a text of 1 to 1000 print"),
        (put("names", []), r"names is \[\], must be a list of 1 to"),
        (cut("names", 0), "region program must be there once"),
        (lambda parts: parts["names"].append("more"), "region program must be there once"),
        (put("results", 0, "name", "x"), r"results are \['x', 'logits'\], must be \['embedding'\] or"),
        (put("results", 1, "name", "embedding"), r"results are \['embedding', 'embedding'\], must be"),
        (cut("results", 0), r"results are \['logits'\], must be"),
        (put("results", 0, "name", None), "name of a result is None, must be a text"),
        (put("results", 1, "channels", 17), "result logits has 17 channels in 8 bytes, must have at most 16 in 36"),
        (put("results", 1, "channels", 4), r"instruction \d+, store logits \[0\], writes 1 x 6 bytes"),
        (put("results", 0, "channels", 15), "result embedding has 15 ch|the embedding has 15 channels"),
        (put("results", 0, "pitch", 64), "result embedding has 16 channels in 64 bytes, must have at most 16 in 32"),
        (put("results", 0, "address", 4096), "region embedding must be there once"),
        (put("results", 0, "scale", 0), "scale of result embedding is 0, must be a number from 1e-50 to 1e[+]50"),
        (put("results", 0, "scale", -1.0), "scale of result embedding is -1.0, must be"),
        (put("results", 0, "scale", 1e300), "scale of result embedding is 1e[+]300, must be"),
        (put("results", 0, "scale", "1"), "scale of result embedding is '1', must be"),
        (cut("results", 0, "scale"), "result is {.*, must be a table of name, address, pitch, channels, scale"),
        (put("about", {}), "about is {}, must have hidden, layers, heads, intermediate, store_words_used, query_tok"),
        (put("about", None), "about is None, must have hidden"),
        (put("about", "vocabulary", 0), "vocabulary in about is 0, must be an integer from 1 to"),
        (put("about", "vocabulary", True), "vocabulary in about is True, must be"),
        (put("about", "vocabulary", 10**6), "instruction 0, embeddings.word_embeddings, reads row 999999 of 32 bytes"),
        (put("about", "hidden", 15), "the embedding has 16 channels, the model 15"),
        (put("about", "classes", [1]), "name of a class is 1, must be a text"),
        (put("notes", [1]), "note is 1, must be a text"),
        (put("notes", "x"), "notes is 'x', must be a list"),
        (put("tokenizer", 5), "tokenizer is 5, must be a text"),
        (put("configuration", "rows", 0), "rows is 0, must be an integer from 1 to"),
        (put("configuration", "rows", True), "rows is True, must be an integer"),
        (put("configuration", "device", []), r"device is \[\], must be a name"),
        (put("configuration", "device", "x */"), "device is 'x [*]/', must be a name"),
        (put("configuration", "max_tokens", 8), "sequence 1 is 8|sequence 1"),
        (put("configuration", {}), "configuration is {}, must be a table of n, m, rows"),
        (cut("configuration", "hidden"), "configuration is {.*, must be a table of n, m, rows"),
    ],
)  # fmt: skip
def test_parts_that_are_wrong(text: Program, change: Change, message: str) -> None:
    assert re.match(message, refused(signed(text, change)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("about", "image", 9), "pictures of 9 pixels a side in patches of 4 are not the tokens of each sequence"),
        (put("about", "patch_side", 2), "pictures of 8 pixels a side in patches of 2 are not the tokens"),
        (put("about", "channels", 3), "a patch of 16 pixels in 16 bytes is not of 4 x 4 pixels"),
        (put("about", "patch_bytes", 8), "region patches must be there once, 88 bytes from"),
        (put("about", "patch_bytes", 1 << 20), "region patches must be there once"),
        (put("about", "classes", ["a"]), "1 names of classes, must be 3 or none"),
        (put("results", 0, "name", "x"), r"results are \['x'\], must be \['logits'\] or \['embedding'\]"),
        (region("patches", name="ids"), "about is .*, must have vocabulary|vocabulary"),
    ],
)  # fmt: skip
def test_parts_of_a_program_for_pictures(pictures: Program, change: Change, message: str) -> None:
    assert re.match(message, refused(signed(pictures, change)))


# --- programs of shorter sequences -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lengths() -> Program:
    """Of two sequences each, of 7 and 5, of 4 and 3, and of 2 and 1 tokens."""
    whole = artefact(16, 2, 24, layers=1, pattern="2:8", classes=3)
    return compile_encoder(integer_parameters(whole), CONFIG, [7, 5], {"model": "small"}, [[4, 3], [2, 1]])


def on_the_first(name: str) -> Change:
    """A region of the second of the shorter programs lies where the first has it."""

    def change(parts: dict[str, Any]) -> None:
        first, second = (next(one for one in part["regions"] if one[0] == name) for part in parts["shorter"])
        second[1] = first[1]

    return change


def of_the_whole(name: str) -> Change:
    """A part of the first of the shorter programs is that of the whole."""

    def change(parts: dict[str, Any]) -> None:
        parts["shorter"][0][name] = parts[name]

    return change


def test_shorter_ones_are_read(lengths: Program) -> None:
    read = programs.from_bytes(signed(lengths))
    assert [[one.tokens for one in each.sequences] for each in read.every] == [[7, 5], [4, 3], [2, 1]]
    assert [each.instructions for each in read.every] == [each.instructions for each in lengths.every]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("shorter", []), r"shorter is \[\], must be a list of 1 to 256"),
        (lambda parts: parts.update(shorter=parts["shorter"][:1] * 257), r"shorter is .*, must be a list of 1 to 256"),
        (put("shorter", 0, 7), "shorter 0 is 7, must be a table of address, names"),
        (put("shorter", 0, "tokenizer", ""), "shorter 0 is {.*, must be a table of address, names"),
        (lambda parts: parts["shorter"].reverse(), r"sequences of \[4, 3\] tokens behind \[2, 1\]: must be as many"),
        (cut("shorter", 0, "sequences", 1), r"sequences of \[4\] tokens behind \[7, 5\]: must be as many, each of"),
        (of_the_whole("sequences"), r"sequences of \[7, 5\] tokens behind \[7, 5\]: must be as many, each of fewer"),
        (put("shorter", 1, "about", "hidden", 8), r"the program for \[2, 1\] tokens is of another model than that for"),
        (put("shorter", 0, "results", 0, "scale", 2.0), r"the program for \[4, 3\] tokens is of another model than"),
        (cut("shorter", 0, "results", 1), r"the program for \[4, 3\] tokens is of another model than that for \[7, 5"),
        (put("shorter", 0, "notes", [5]), "note is 5, must be a text"),
        (of_the_whole("regions"), "region program of one program lies on program of another"),
        (of_the_whole("results"), "region embedding must be there once"),
        (on_the_first("program"), "region program of one program lies on program of another"),
        (on_the_first("ids"), "region ids of one program lies on ids of another"),
        (on_the_first("logits"), "region logits of one program lies on logits of another"),
        (put("shorter", 0, "address", 0), "region program must be there once"),
    ],
)
def test_shorter_ones_that_are_wrong(lengths: Program, change: Change, message: str) -> None:
    found = refused(signed(lengths, change))
    assert re.match(message, found), found


def test_activations_are_shared_and_nobody_elses() -> None:
    """By the programs of a file; on what another one reads they are refused."""
    whole = artefact(16, 2, 24, layers=1, pattern="2:8")
    parameters, config = integer_parameters(whole), replace(CONFIG, store_words=16)
    lengths = compile_encoder(parameters, config, [12], shorter=[[9], [2]])
    places = [[one for one in each.regions if one.name == ACTIVATIONS] for each in lengths.every]
    assert len(places[0]) == 1
    assert places[0] == places[1] == places[2]
    assert programs.from_bytes(signed(lengths)).regions == lengths.regions

    def on_the_ids(parts: dict[str, Any]) -> None:
        whole, shorter = parts["regions"], parts["shorter"][1]["regions"]
        ids = next(one for one in shorter if one[0] == "ids")
        (own,) = (one for one in whole if one[0] == ACTIVATIONS)
        whole.remove(own)
        whole.append([ACTIVATIONS, *ids[1:]])
        whole.sort(key=lambda one: one[1])

    assert said_of(signed(lengths, on_the_ids)).endswith(" of one program lies on ids of another")


def test_instructions_of_a_shorter_one(lengths: Program) -> None:
    one = lengths.shorter[1]
    memory = changed(one, "embeddings.LayerNorm", pattern_n=1)
    assert refused(signed(lengths, memory=memory)).startswith("instruction 2, embeddings.LayerNorm, is illegal: RESER")


# --- instructions ----------------------------------------------------------------------------------------------------


def changed(program: Program, name: str, **fields: Any) -> bytes:
    """The memory with other fields of an instruction, given as numbers or as functions of what they were."""
    at = program.address + program.names.index(name) * BYTES
    code = decode(program.memory[at : at + BYTES])
    code |= {key: value(code[key]) if callable(value) else value for key, value in fields.items()}
    return program.memory[:at] + encode(code) + program.memory[at + BYTES :]


SCORES, CONTEXT = (f"encoder.layer.0.attention.self.{part} [0]" for part in ("scores", "context"))


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("embeddings.LayerNorm", {"opcode": 9}, "is illegal: OPCODE"),
        ("embeddings.LayerNorm", {"tokens": 0}, "is illegal: TOKENS"),
        ("embeddings.LayerNorm", {"tokens": 17}, "is illegal: TOKENS"),
        ("embeddings.LayerNorm", {"keys": 1}, "is illegal: RESERVED"),
        ("embeddings.LayerNorm", {"opcode": int(Op.END)}, "is illegal: RESERVED"),
        ("encoder.layer.0.output.dense", {"beats": lambda beats: beats + 1}, "is illegal: BEATS"),
        ("encoder.layer.0.output.dense", {"pattern_n": 9}, "is illegal: PATTERN"),
        ("encoder.layer.0.output.dense", {"address": 1 << 31}, "is illegal: ADDRESS"),
        ("encoder.layer.0.output.dense", {"address": lambda address: address + 2}, "is illegal: ADDRESS"),
        (SCORES, {"x_base": 128}, "is illegal: STORE"),
        (SCORES, {"tokens": 6}, r"is of tokens \[6, 7\] from 0 on, must be of a sequence"),
        (SCORES, {"first_token": 2}, r"is of tokens \[7, 7\] from 2 on, must be of a sequence"),
        (CONTEXT, {"keys": 6}, r"is of tokens \[7, 6\] from 0 on, must be of a sequence"),
        (CONTEXT, {"shift": 47}, "has a shift of 47, with 7 keys must have at most 37"),
        (CONTEXT, {"shift": 38}, "has a shift of 38, with 7 keys must have at most 37"),
        ("pool [1]", {"tokens": 6}, r"is of tokens \[6\] from 8 on, must be of a sequence"),
        ("store embedding [1]", {"address": 0}, "writes 1 x 32 bytes from 0 on, must write results, or activat"),
        ("store embedding [1]", {"address": lambda address: address + 4}, "writes 1 x 32 bytes from"),
        ("store embedding [0]", {"tokens": 3}, "writes 3 x 32 bytes from"),
        ("store logits [1]", {"channels": 4}, "writes 1 x 8 bytes from"),
        ("store logits [1]", {"channels": 2}, "writes 1 x 4 bytes from"),
        ("embeddings.word_embeddings", {"ids_address": 1 << 20}, "is illegal: ADDRESS"),
        ("embeddings.word_embeddings", {"address": 1 << 20}, "reads row 12 of 32 bytes from 1048576 on, the"),
        ("embeddings.position_embeddings", {"ids_address": lambda at: at + 192}, "reads row|is illegal"),
    ],
)  # fmt: skip
def test_instructions_that_are_wrong(text: Program, name: str, fields: dict[str, Any], message: str) -> None:
    number = text.names.index(name)
    found = refused(signed(text, memory=changed(text, name, **fields)))
    assert re.match(rf"instruction {number}, {re.escape(name)}, (?:{message})", found), found


@pytest.fixture(scope="module")
def spilled() -> Program:
    """Of one sequence of 7 tokens, four queries at a time; operand and context go to memory."""
    whole = artefact(16, 2, 24, layers=1, pattern="2:8")
    program = compile_encoder(integer_parameters(whole), replace(CONFIG, store_words=16), [7])
    assert program.about["query_tokens"] == 4
    return program


BLOCK = "encoder.layer.0.attention.self.scores.1 tokens 4-6"


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        (BLOCK, {"tokens": 2}, r"is of tokens \[2, 7\] from 4 on, must be of a sequence"),
        (BLOCK, {"first_token": 2}, r"is of tokens \[3, 7\] from 2 on, must be of a sequence"),
        (BLOCK, {"first_token": 6, "tokens": 1}, r"is of tokens \[1, 7\] from 6 on, must be of a sequence"),
        (BLOCK, {"channels": 3}, r"is of tokens \[3, 3\] from 4 on, must be of a sequence"),
        ("store operand tokens 4-6", {"address": lambda at: at + 192}, "writes 3 x 16 bytes from"),
        ("store operand tokens 0-3", {"address": lambda at: at - 4}, "writes 4 x 16 bytes from"),
        ("embeddings.word_embeddings", {"ids_address": "activations"}, "takes its rows' numbers from "),
    ],
)
def test_blocks_and_activations(spilled: Program, name: str, fields: dict[str, Any], message: str) -> None:
    places = {key: spilled.region(value).address for key, value in fields.items() if isinstance(value, str)}
    assert programs.from_bytes(signed(spilled)).notes == spilled.notes
    found = said_of(signed(spilled, memory=changed(spilled, name, **fields | places)))
    assert re.match(rf"instruction \d+, {re.escape(name)}, (?:{message})", found), found


def test_the_largest_shift_of_a_context(text: Program) -> None:
    memory = changed(text, CONTEXT, shift=37)
    assert programs.from_bytes(signed(text, memory=memory)).memory == memory


def test_an_end_in_the_middle_and_none_at_the_end(text: Program) -> None:
    at = text.address + 3 * BYTES
    memory = text.memory[:at] + bytes(BYTES) + text.memory[at + BYTES :]
    assert refused(signed(text, memory=memory)).startswith(
        f"instruction 3, {text.names[3]}, is END, the program ends at "
    )
    at, load = text.address + len(text.names) * BYTES, text.address
    memory = text.memory[:at] + text.memory[load : load + BYTES] + text.memory[at + BYTES :]
    assert re.match(r"instruction \d+, the end, is GATHER", refused(signed(text, memory=memory)))


def test_a_result_that_nothing_writes(text: Program) -> None:
    first = next(result for result in text.results if result.name == "logits").address
    memory = changed(text, "store logits [1]", address=first)
    assert refused(signed(text, memory=memory)) == "no instruction writes result logits of sequence 1"


def test_any_flipped_bit_is_refused_or_legal(text: Program, pictures: Program) -> None:
    """What is still legal is executed, by the golden machine too, and estimated."""
    rng = np.random.default_rng(0)
    accepted = 0
    for program in (text, pictures):
        code = range(8 * program.address, 8 * (program.address + BYTES * len(program.names)))
        for bit in rng.choice(code, 300, replace=False).tolist():
            memory = bytearray(program.memory)
            memory[bit // 8] ^= 1 << bit % 8
            try:
                read = programs.from_bytes(signed(program, memory=bytes(memory)))
            except InputError:
                continue
            accepted += 1
            estimate(read)
            if read.takes_pictures:
                image = read.image_of_patches([np.zeros((5, 16), np.int8)] * 2)
            else:
                read, ids = fitted(read, [[1] * int(rng.integers(1, 8)), [12] * int(rng.integers(1, 6))])
                image = read.image(ids)
            Machine(read.config, image, address=read.address).finish()
    assert 20 < accepted < 300


# --- commands --------------------------------------------------------------------------------------------------------


def test_every_command_refuses(
    text: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And before the simulator is built."""
    monkeypatch.setattr("nmgen.verilog.bundle.generate", None)
    file, ids = tmp_path / "P.nmp", tmp_path / "ids.json"
    ids.write_text("[[1, 2], [3]]")
    flipped = changed(text, "embeddings.LayerNorm", pattern_n=1)
    for data, message in (
        (signed(text, memory=flipped), "instruction 2, embeddings.LayerNorm, is illegal: RESERVED"),
        (signed(text, put("about", {})), "about is {}, must have hidden"),
    ):
        file.write_bytes(data)
        for command in (["disassemble"], ["estimate"], ["estimate", "--json"], ["simulate", "--ids", str(ids)]):
            assert main([command[0], str(file), *command[1:]]) == 2
            said = capsys.readouterr()
            assert said.out == ""
            assert said.err.startswith(f"nmgen: {file}: {message}")
            assert said.err.count("\n") == 1
