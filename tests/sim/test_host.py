"""docs/host.md and the hosts of docs/host/: that in Python and that in C run programs on the generated Verilog.

The tests on it are those of host_tb.py. Embeddings are compared with the integer encoder's, which knows of no program.
"""

import json
import mmap
import re
from ctypes import CDLL
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from nmgen.compiler.encoder import compile_encoder
from nmgen.compiler.program import Program
from nmgen.models.sentences import fitted
from nmgen.verilog.writer import emit
from pruning.families.bert.integer import IntegerEncoder
from pruning.families.bert.parameters import pool_factor
from rtl.params import Product
from rtl.sta.axi_top import AxiSta
from rtl.sta.isa import BYTES, FIELDS, Op
from rtl.sta.legality import Cause
from rtl.sta.params import StaConfig
from rtl.sta.registers import REGISTERS, version_number
from sim.bench.runner import Build, SimulationError
from sim.golden.machine import Machine
from sim.image.product import pack_weights
from sim.image.program import parameter_units
from tests.nmgen.encoders import artefact, random_ids
from tests.rtl.cocotb_results import raise_failure
from tests.sim.hosts import DOCS, FOLDER, Answer, CHost, Ports, library, module, python_host
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
