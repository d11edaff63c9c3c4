"""docs/host.md and the hosts of docs/host/: that in Python and that in C run programs on the generated Verilog.

The tests on it are those of host_tb.py. Embeddings are compared with the integer encoder's, which knows of no program.
"""

import json
import mmap
import re
import subprocess
from ctypes import CDLL
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from nmgen.compiler.program import Placed, Program
from nmgen.families.bert.compiler import compile_elastic, compile_encoder
from nmgen.families.bert.sentences import fitted
from nmgen.verilog.writer import emit
from pruning.encoder.parameters import pool_factor
from pruning.families.bert.integer import IntegerEncoder
from rtl.product import Product
from rtl.sta.axi_top import AxiSta
from rtl.sta.isa import BYTES, FIELDS, Op
from rtl.sta.params import StaConfig
from rtl.sta.registers import REGISTERS, version_number
from sim.bench.runner import Build, SimulationError
from sim.golden.machine import Machine
from sim.image.product import pack_weights
from sim.image.program import parameter_units
from tests.nmgen.encoders import artefact, random_ids
from tests.pruning.samples import thinned
from tests.rtl.cocotb_results import raise_failure
from tests.sim.hosts import DOCS, FOLDER, SEQUENCES_MAX, STRICT, Answer, CHost, Ports, PythonHost, library, module
from tests.sim.test_axi_sta import BUILDS, CASES, LENGTHS, PORTS

PAGE = (DOCS / "host.md").read_text(encoding="utf-8")
CONFIG, SIZES = CASES["narrow"]
TESTS = 3


@pytest.fixture(scope="module")
def encoder() -> IntegerEncoder:
    return IntegerEncoder(artefact(**SIZES))


@pytest.fixture(scope="module")
def program(encoder: IntegerEncoder) -> Program:
    return compile_encoder(encoder.parameters, CONFIG, LENGTHS)


def case(encoder: IntegerEncoder, texts: list[list[int]]) -> dict[str, Any]:
    """Texts, and what the encoder makes of each alone."""
    means = [encoder.means(torch.tensor(text)).tolist() for text in texts]
    return {"texts": texts, "embeddings": [[value * encoder.parameters.scale for value in row] for row in means]}


def test_hosts_on_the_verilog(tmp_path: Path, encoder: IntegerEncoder, program: Program) -> None:
    lengths = (LENGTHS, [1, 2], [2])
    cases = [case(encoder, random_ids(seed, list(lengths_))) for seed, lengths_ in enumerate(lengths)]
    assert len({json.dumps(one["embeddings"]) for one in cases}) == len(cases)
    (tmp_path / "program.nmp").write_bytes(program.to_bytes())
    products = [n for n, code in enumerate(program.instructions) if code["opcode"] == Op.PRODUCT]
    run = {"library": str(library(tmp_path)), "cases": cases, "breaks": program.address + BYTES * products[-1]}
    (tmp_path / "run.json").write_text(json.dumps(run))
    source = tmp_path / "axi_sta.v"
    source.write_text(emit(AxiSta(CONFIG), name="sta", prefix="axi"))
    build = Build([source], "axi_sta", "verilator", BUILDS, ports=PORTS)  # the same as test_axi_sta's
    build.make()
    try:
        build.run(tmp_path, 1, "tests.sim.host_tb")
    except SimulationError:
        raise_failure(tmp_path)
    results = ElementTree.parse(tmp_path / "results.xml")
    assert len(results.findall(".//testcase")) == TESTS
    assert not results.findall(".//failure") + results.findall(".//error") + results.findall(".//skipped")


# --- without a simulator ---------------------------------------------------------------------------------------------
class Registers:
    """As those of an accelerator that is done as soon as it starts; keeps what it is asked."""

    def __init__(self, identification: int) -> None:
        self.values = {register.offset: 0 for register in REGISTERS.values()}
        self.values |= {self.at("id"): identification, self.at("version"): version_number()}
        self.accesses: list[tuple[str, int, int]] = []

    @staticmethod
    def at(name: str) -> int:
        return REGISTERS[name].offset

    def read32(self, offset: int) -> int:
        self.accesses.append(("read", offset, self.values[offset]))
        return self.values[offset]

    def write32(self, offset: int, value: int) -> None:
        self.accesses.append(("write", offset, value))
        if offset == self.at("control"):
            self.values[self.at("status")] = {1: 2, 2: 0}[value]


def ports(program: Program, base: int = 0) -> tuple[Ports, Registers]:
    registers = Registers(program.config.identification)
    return Ports(registers.read32, registers.write32, lambda: None, mmap.mmap(-1, 1 << 16), base), registers


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Each host by its language: of a file and of Ports."""
    loaded = CDLL(str(library(tmp_path_factory.mktemp("host"))))
    return {"python": PythonHost, "c": lambda file, ports: CHost(loaded, file, ports)}


LANGUAGES = ("python", "c")


def hexadecimal(text: str) -> list[bytes]:
    """The dumps of bytes on a page."""
    return [bytes.fromhex(block) for block in re.findall(r"```\n((?:[0-9a-f]{2}\s)+)```", text)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_run_of_the_page(language: str, make: dict[str, Any], program: Program) -> None:
    """The accesses in its table, in that order, and the ids."""
    table = re.findall(r"^\| (read|write) \| (0x\w\w) `(\w+)` \| (\w*) ?\|", PAGE, re.MULTILINE)
    wanted = [(kind, int(offset, 16), value) for kind, offset, _, value in table]
    assert all(Registers.at(name) == int(offset, 16) for _, offset, name, _ in table)
    (base,) = {int(text, 16) for text in re.findall(r"at base (0x\w+)", PAGE)}
    assert f"image of {len(program.memory)} bytes" in PAGE
    assert f"first instruction at {program.address}" in PAGE
    assert json.dumps([[s.first_token, s.tokens] for s in program.sequences], separators=(",", ":")) in PAGE
    given, registers = ports(program, base=base)
    host = make[language](program.to_bytes(), given)
    assert host.load() == Answer.OK
    host.run([[2, 5, 7], [4]])
    assert [access[:2] for access in registers.accesses] == [access[:2] for access in wanted]
    for (*_, found), (*_, value) in zip(registers.accesses, wanted, strict=True):
        assert not value or found == int(value, 0)
    ids = program.region("ids")
    assert given.memory[ids.address : ids.end] == hexadecimal(PAGE)[1]


@pytest.mark.parametrize("store_words", [1024, 80])
@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_of_every_length(language: str, make: dict[str, Any], encoder: IntegerEncoder, store_words: int) -> None:
    """Ids and instructions are those that `nmgen simulate` runs, whatever ran before; without a text, of one token."""
    config = replace(CONFIG, max_tokens=40, store_words=store_words)
    program = compile_encoder(encoder.parameters, config, [31, 7])
    assert (program.about["query_tokens"] < 31) == (store_words == 80), program.about
    given, _ = ports(program)
    host = make[language](program.to_bytes(), given)
    assert host.load() == Answer.OK
    assert given.memory[: len(program.memory)] == program.memory
    for length in (*range(31, 0, -1), 31):
        texts = random_ids(length, [length, min(length, 7)])[: 1 + length % 2]
        host.run(texts)
        wanted, ids = fitted(program, [*texts, [0]][:2])
        assert given.memory[: len(program.memory)] == wanted.image(ids).tobytes(), length


def test_factor_of_the_mean() -> None:
    for tokens in range(1, 4097):
        factor = pool_factor(tokens)
        shift = 15 + (tokens - 1).bit_length()
        assert (factor.shift, factor.mult) == (shift, round(2**shift / tokens))


@pytest.fixture(scope="module")
def elastic(encoder: IntegerEncoder) -> Program:
    """Of two densities, the denser one being the encoder's."""
    sparse = IntegerEncoder(thinned(artefact(**SIZES), 1))
    parameters = {"2:4": encoder.parameters, "1:4": sparse.parameters}
    config = replace(CONFIG, n=1)  # of which each density is a multiple
    return compile_elastic(parameters, config, LENGTHS, {name: {"model": "small"} for name in parameters})


@pytest.mark.parametrize("kind", ["program", "elastic"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_image_at_a_base(
    language: str, kind: str, make: dict[str, Any], encoder: IntegerEncoder, request: pytest.FixtureRequest
) -> None:
    """The golden machine, too, runs the image where it is put."""
    program: Program = request.getfixturevalue(kind)
    assert any(code.get("weight_groups") for code in program.instructions) == (kind == "elastic")
    base, texts = 0x1040, random_ids(5, LENGTHS)
    given, registers = ports(program, base)
    written: dict[int, int] = {}

    def write32(offset: int, value: int) -> None:
        written[offset] = value
        registers.write32(offset, value)
        if offset == Registers.at("control"):
            limit = written[Registers.at("limit")]
            machine = Machine(program.config, given.memory[:limit], address=written[Registers.at("program")])
            machine.finish()
            given.memory[:limit] = machine.memory.tobytes()

    host = make[language](program.to_bytes(), replace(given, write32=write32, offset=base))
    assert host.load() == Answer.OK
    found = host.run(texts)
    assert np.float32(found).tolist() == np.float32(case(encoder, texts)["embeddings"]).tolist()


def refused(language: str, make: dict[str, Any], file: bytes, given: Ports) -> bool:
    """Whether loading ends in an error; in C the one that it must."""
    if language == "c":
        return make[language](file, given).load() != Answer.OK
    try:
        make[language](file, given).load()
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("language", LANGUAGES)
def test_files(language: str, make: dict[str, Any], encoder: IntegerEncoder, program: Program) -> None:
    """Whatever texts a file has it is read; where a byte of it is another it is refused."""
    texts = replace(program, notes=('"results":"[{', 'a \\ " é'), tokenizer='{"version":"\\u00e9\n\U0001f600"}')
    given, registers = ports(program)
    several = compile_encoder(encoder.parameters, CONFIG, LENGTHS, shorter=[[2, 1]])
    more, _ = ports(several)
    for one, memory in ((program, given), (texts, given), (several, more)):
        assert not refused(language, make, one.to_bytes(), memory)
    damaged = several.to_bytes().replace(b'"shorter":"[{', b'"shorter":"[ ')
    assert refused(language, make, damaged, more)
    good = texts.to_bytes()
    numbers = np.random.default_rng(1)
    image, behind = len(good) - len(program.memory), good.index(b'"},"memory":')  # of the metadata
    places = (*numbers.integers(8, behind, 30).tolist(), *numbers.integers(image, len(good), 10).tolist())
    for at in (0, 8, 30, behind, *places):
        bad = bytearray(good)
        bad[at] ^= 1 << int(numbers.integers(7))
        assert refused(language, make, bytes(bad), given), at
    for size in (0, 7, 8, 100, len(good) - 1):
        assert refused(language, make, good[:size], given), size
    facts = {name: value for name, value in program.about.items() if name != "vocabulary"}
    assert refused(language, make, replace(program, about=facts).to_bytes(), given), "takes no ids"
    registers.values[Registers.at("id")] ^= 1
    assert refused(language, make, good, given)


def test_answers_in_c(make: dict[str, Any], program: Program) -> None:
    given, registers = ports(program)
    host = make["c"](program.to_bytes(), given)
    assert host.load() == Answer.OK
    for texts in ([[1], [1], [1]], [[]], [[1, 1, 1, 1]], [[1], [1, 1, 1]], [[program.about["vocabulary"]]]):
        assert host.answer(texts) == Answer.BAD_TEXT
        with pytest.raises(ValueError, match=r"text"):
            PythonHost(program.to_bytes(), given).run(texts)
    assert not [access for access in registers.accesses if access[0] == "write"]
    small = replace(given, memory=mmap.mmap(-1, len(program.memory) - 1))
    assert make["c"](program.to_bytes(), small).load() == Answer.NO_ROOM
    size, (embedding, *_) = len(program.memory), program.results
    for wrong in (
        {"address": size},
        {"sequences": (Placed(0, 3), Placed(4, size))},
        {"results": (replace(embedding, address=size),)},
        {"results": (replace(embedding, channels=size),)},
        {"results": (replace(embedding, name="other"),)},
    ):
        assert make["c"](replace(program, **wrong).to_bytes(), given).load() == Answer.BAD_FILE, wrong
    many = replace(program, sequences=program.sequences[:1] * (SEQUENCES_MAX + 1))
    assert make["c"](many.to_bytes(), given).load() == Answer.NO_ROOM
    registers.values[Registers.at("id")] ^= 1
    assert make["c"](program.to_bytes(), given).load() == Answer.OTHER_ACCELERATOR
    assert make["c"](program.to_bytes()[:-1], given).load() == Answer.BAD_FILE


# --- the page --------------------------------------------------------------------------------------------------------
def test_metadata_of_the_page(program: Program) -> None:
    """Its table has the keys in their order; of the header without spaces."""
    rows = re.findall(
        r"^\| (`[\w`, ]+`) \| [^|]+ \|$", PAGE.split("## The `.nmp` file")[1].split("\n## ")[0], re.MULTILINE
    )
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    header = replace(program, others=(program,)).header()
    assert list(json.loads(header[8:])["__metadata__"]) == named
    assert tuple(named[2:-2]) == module().PARTS


def test_column_tile_of_the_page() -> None:
    """Of the layer that format.md packs."""
    given = json.loads(re.findall(r"```json\n(.*?)```", (DOCS / "format.md").read_text(), re.DOTALL)[0])
    weights = np.array(given["weights"], np.int8)
    config = StaConfig(n=2, m=8, cols=2, drain=2, port_bytes=8)
    assert "`--n 2 --m 8 --cols 2 --drain 2 --port-bytes 8` is one tile of four beats" in PAGE
    product = Product(config=config, tokens=1, k=10, channels=2, pattern_n=2)
    units = parameter_units(given["bias"], given["mult"], given["shift"])
    assert pack_weights(product, weights, units).tobytes() == hexadecimal(PAGE)[0]


def test_fields_of_the_hosts() -> None:
    for name, place in module().FIELDS.items():
        assert place == (FIELDS[name].word, FIELDS[name].low, FIELDS[name].bits)
    for name, register in REGISTERS.items():
        assert getattr(module(), name.upper(), register.offset) == register.offset
    control, status, interrupt = (REGISTERS[name] for name in ("control", "status", "interrupt"))
    host = module()
    assert {f.name: f.mask for f in control.fields} == {"start": host.START, "clear": host.CLEAR}
    assert {"busy": host.BUSY, "error": host.ERROR}.items() < {f.name: f.mask for f in status.fields}.items()
    assert {f.name: f.mask for f in interrupt.fields} == {"done": host.ON_DONE, "error": host.ON_ERROR}
    for op in Op:
        assert getattr(module(), op.name) == op


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def test_excerpts(tmp_path: Path) -> None:
    """What the page shows of a host is in it; what a board adds compiles."""
    sources = "".join((FOLDER / name).read_text() for name in ("host.py", "host.c"))
    inside = "\n".join(lines(sources))
    blocks = re.findall(r"```(?:python|c)\n(.*?)```", PAGE, re.DOTALL)
    board = blocks.pop()
    assert len(blocks) == 3
    for block in blocks:
        assert "\n".join(lines(block)) in inside, block
    functions, body = board.split("\n\n")
    (tmp_path / "board.c").write_text(f"""
#include "host.h"

enum {{ CONTROL_BASE = 0x1000, BASE = 0x2000 }};
static uint8_t buffer[64];
{functions}

void board(const uint8_t *file, size_t file_size, const uint32_t *const *ids, const uint32_t *lengths, float *values);
void board(const uint8_t *file, size_t file_size, const uint32_t *const *ids, const uint32_t *lengths, float *values)
{{
{body}
}}
""")
    flags = [flag for flag in STRICT if flag != "-Wconversion"]
    command = ["gcc", *flags, "-Wno-int-to-pointer-cast", "-Wno-missing-field-initializers", f"-I{FOLDER}"]
    subprocess.run([*command, "-c", "board.c"], cwd=tmp_path, check=True, timeout=60)
