"""Whole encoders on STA behind AXI, against cocotbext-axi: the tests are those of axi_sta_tb.py.

Programs that are wrong end in the same way at the plain port.
"""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from nmgen.compiler.program import Program
from nmgen.families.bert.compiler import compile_encoder
from nmgen.verilog.writer import emit
from pruning.families.bert.integer import IntegerEncoder
from rtl.sta.axi_top import AxiSta
from rtl.sta.isa import BYTES, FIELDS, Op, decode, encode
from rtl.sta.legality import Cause
from rtl.sta.params import StaConfig
from rtl.sta.top import Sta
from sim.bench.programs import ProgramJob, run_programs
from sim.bench.runner import Build, SimulationError
from sim.golden.checked import with_dumps
from sim.golden.machine import Machine
from tests.nmgen.encoders import artefact, random_ids
from tests.rtl.cocotb_results import raise_failure

BUILDS = Path(__file__).parents[2] / "build" / "test-sim"
PORTS = ("clk", "rst", "busy", "irq", "m_axi_*", "s_axi_*")
TESTS = 5
LENGTHS = [3, 2]
CASES = {
    "narrow": (
        StaConfig(n=2, m=4, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=8, max_k=32, hidden=16, store_words=256),
        {"hidden": 16, "heads": 2, "inner": 20, "pattern": "2:4", "layers": 1, "classes": 3},
    ),
    "wide": (  # bursts of 256 bytes, which cross pages; two groups of rows
        StaConfig(
            n=2,
            m=8,
            rows=4,
            cols=4,
            drain=4,
            port_bytes=16,
            max_tokens=8,
            max_k=48,
            hidden=24,
            store_words=256,
            groups=2,
        ),
        {"hidden": 24, "heads": 3, "inner": 28, "pattern": "2:8", "layers": 1},
    ),
}


def after(config: StaConfig, memory: np.ndarray, address: int) -> np.ndarray:
    machine = Machine(config, memory, fill=np.random.default_rng(1), address=address)
    for _ in machine.run():
        pass
    return machine.memory


def images(config: StaConfig, program: Program) -> dict[str, tuple[np.ndarray, int, np.ndarray]]:
    """The program as it is, and with dumps: of each the memory, the address of its first instruction, and what may be
    anything: what lies behind a dump's row was never written in the store.
    """
    image = program.image(random_ids(1, LENGTHS))
    numbers = np.random.default_rng(2)
    for result in program.results:  # what is never written does not pass for a result
        size = result.pitch * len(LENGTHS)
        image[result.address : result.address + size] = numbers.integers(0, 256, size)
    code, dumps, end = with_dumps(config, program.instructions, len(image))
    start = -(-end // BYTES) * BYTES
    memory = np.concatenate([image, numbers.integers(0, 256, start + len(code) - len(image), np.uint8)])
    memory[start:] = np.frombuffer(code, np.uint8)
    anything = np.zeros(len(memory), np.bool_)
    for dump in dumps:
        rows = anything[dump.address :][: dump.tokens * dump.pitch].reshape(dump.tokens, dump.pitch)
        rows[:, dump.size :] = True
    return {"plain": (image, program.address, np.zeros(len(image), np.bool_)), "dumps": (memory, start, anything)}


def store_bursts(config: StaConfig, memory: np.ndarray, address: int) -> int:
    """Bursts that the program's STOREs write: a row of up to 16 beats is one, two where it crosses a page."""
    found = 0
    while (f := decode(memory[address : address + BYTES].tobytes()))["opcode"] != Op.END:
        if f["opcode"] == Op.STORE:
            size = 2 * f["channels"] if f["which"] else f["groups"] * config.m
            pitch = -(-size // config.port_bytes) * config.port_bytes
            assert pitch <= 16 * config.port_bytes
            for token in range(f["tokens"]):
                row = f["address"] + token * pitch
                found += 1 + (row // 4096 != (row + pitch - 1) // 4096)
        address += BYTES
    return found


def wrong_programs(program: Program, image: np.ndarray) -> list[dict[str, Any]]:
    """Changes of a program, and what they end in."""
    start, limit = program.address, len(image)
    places: dict[Op, list[int]] = {op: [] for op in Op}
    for at in range(start, start + BYTES * len(program.names), BYTES):
        places[Op(decode(image[at : at + BYTES].tobytes())["opcode"])].append(at)
    end = start + BYTES * len(program.names)

    def changed(at: int, **fields: int) -> bytes:
        return encode(decode(image[at : at + BYTES].tobytes()) | fields)

    found: list[dict[str, Any]] = []

    def add(name: str, at: int, code: bytes, cause: Cause, address: int, **others: int) -> None:
        entry = {"name": name, "at": at, "bytes": code.hex(), "cause": int(cause), "address": address}
        found.append(entry | {"start": start, "limit": limit} | others)

    norm, product, store = places[Op.NORM][1], places[Op.PRODUCT][-1], places[Op.STORE][-1]
    gather = places[Op.GATHER][0]
    ids = program.region("ids").address
    rows = decode(image[gather : gather + BYTES].tobytes())
    size = len(image) - rows["address"]
    row_bytes = rows["beats"] * program.config.port_bytes
    beyond = limit + 4096
    add("no such opcode, at first", start, changed(start, opcode=9), Cause.OPCODE, start)
    add("no such opcode, in the middle", product, changed(product, opcode=15), Cause.OPCODE, product)
    last = BYTES - 1
    assert all(32 * field.word + field.low + field.bits <= 8 * last for field in FIELDS.values())
    add("a bit of no field", norm, image[norm : norm + last].tobytes() + b"\x80", Cause.RESERVED, norm)
    add("no tokens", product, changed(product, tokens=0), Cause.TOKENS, product)
    add("noise instead of END", end, b"\xff" * BYTES, Cause.OPCODE, end)
    add("truncated", end, image[end:].tobytes(), Cause.ADDRESS, end, limit=end)
    add("truncated in an instruction", end, image[end:].tobytes(), Cause.ADDRESS, product, limit=product + BYTES - 4)
    add("starts beyond the limit", end, image[end:].tobytes(), Cause.ADDRESS, beyond, start=beyond)
    add("starts within a beat", end, image[end:].tobytes(), Cause.ADDRESS, start + 1, start=start + 1)
    add("weights beyond the limit", product, changed(product, address=beyond), Cause.ADDRESS, beyond)
    add("weights at the end of all", norm, changed(norm, address=0xFFFFFFC0), Cause.ADDRESS, 0xFFFFFFC0)
    add("results beyond the limit", store, changed(store, address=limit), Cause.ADDRESS, limit)
    add("ids beyond the limit", gather, changed(gather, ids_address=beyond), Cause.ADDRESS, beyond)
    token = -(-size // row_bytes)
    word = token.to_bytes(4, "little")
    add("a row beyond the limit", ids + 4, word, Cause.ADDRESS, rows["address"] + token * row_bytes)
    return found


@pytest.mark.parametrize("name", ["wide", pytest.param("narrow", marks=pytest.mark.nightly)])
def test_axi(name: str, tmp_path: Path) -> None:
    config, sizes = CASES[name]
    program = compile_encoder(IntegerEncoder(artefact(**sizes)).parameters, config, LENGTHS)
    arrays: dict[str, np.ndarray] = {}
    run: dict[str, Any] = {"port_bytes": config.port_bytes, "identification": config.identification, "seed": 1}
    for which, (memory, address, anything) in images(config, program).items():
        arrays |= {which: memory, f"{which}_after": after(config, memory, address), f"{which}_anything": anything}
        run |= {which: address, f"{which}_writes": store_bursts(config, memory, address)}
    run |= {"wrong": wrong_programs(program, arrays["plain"])}
    np.savez(tmp_path / "images.npz", **arrays)
    (tmp_path / "run.json").write_text(json.dumps(run))
    source = tmp_path / "axi_sta.v"
    source.write_text(emit(AxiSta(config), name="sta", prefix="axi"))
    build = Build([source], "axi_sta", "verilator", BUILDS, ports=PORTS)
    build.make()
    try:
        build.run(tmp_path, 1, "tests.sim.axi_sta_tb")
    except SimulationError:
        raise_failure(tmp_path)
    results = ElementTree.parse(tmp_path / "results.xml")
    assert len(results.findall(".//testcase")) == TESTS
    failed = results.findall(".//failure") + results.findall(".//error") + results.findall(".//skipped")
    assert not failed, "\n".join([str(one.attrib) for one in failed] + [(tmp_path / "run.log").read_text()[-4000:]])


def test_wrong_programs_at_the_plain_port(tmp_path: Path) -> None:
    config, sizes = CASES["narrow"]
    program = compile_encoder(IntegerEncoder(artefact(**sizes)).parameters, config, LENGTHS)
    image, start, _ = images(config, program)["plain"]
    source = tmp_path / "sta.v"
    source.write_text(emit(Sta(config)))
    chosen = [wrong for wrong in wrong_programs(program, image) if wrong["start"] == start]
    for number, wrong in enumerate(chosen[3::4]):
        memory, code = image.copy(), bytes.fromhex(wrong["bytes"])
        memory[wrong["at"] : wrong["at"] + len(code)] = np.frombuffer(code, np.uint8)
        memory = memory[: wrong["limit"]]
        job = ProgramJob(memory=memory, address=start, writable=np.ones(len(memory), np.bool_), limit=40_000)
        with pytest.raises(SimulationError) as error:
            run_programs(
                [source], "nmgen_top", config, [job], simulator="icarus", latency=7, seed=number, stall=number % 2 > 0,
                build_dir=BUILDS,
            )  # fmt: skip
        assert f"stopped with cause {Cause(wrong['cause']).name}, {wrong['address']:#010x}" in str(error.value), wrong
