"""Compiled programs: the machine computes what the integer encoder does, instruction after instruction."""

import re

import numpy as np
import pytest
import torch

from nmgen.compiler import compile_encoder
from nmgen.program import Program
from pruning.artefact import Artefact
from pruning.integer import IntegerEncoder
from rtl.params import round_up
from rtl.sta.isa import Op
from rtl.sta.params import StaConfig
from sim.machine import Machine
from tests.nmgen.encoders import artefact, random_ids

SMALL = StaConfig(n=2, m=8, rows=4, cols=4, drain=4, port_bytes=4, max_tokens=32, max_k=64, hidden=48, store_words=512)
WIDE = StaConfig(n=2, m=4, rows=2, cols=8, drain=8, port_bytes=16, max_tokens=40, max_k=64, hidden=48, store_words=512)
ODD = StaConfig(n=3, m=16, rows=3, cols=6, drain=4, port_bytes=2, max_tokens=32, max_k=80, hidden=41, store_words=512)
TINY = StaConfig(n=1, m=2, rows=1, cols=1, drain=1, port_bytes=1, max_tokens=20, max_k=48, hidden=24, store_words=1500)


def check_every_step(config: StaConfig, whole: Artefact, lengths: list[int], seed: int = 0) -> Program:
    """Runs the compiled program in a machine full of rubbish, and compares all that its instructions leave behind."""
    encoder = IntegerEncoder(whole)
    program = compile_encoder(encoder.parameters, config, lengths)
    ids = random_ids(seed, lengths)
    wanted = [{step.name: step for step in encoder.steps(torch.tensor(row))} for row in ids]
    machine = Machine(config, program.image(ids), fill=np.random.default_rng(seed), address=program.address)
    hidden, heads = encoder.parameters.shape.hidden, encoder.parameters.shape.heads
    size = hidden // heads
    pitch = round_up(size, config.store_word_bytes)
    spread = (np.arange(heads)[:, np.newaxis] * pitch + np.arange(size)).ravel()
    compared = 0
    for done in machine.run():
        i, name = done.instruction, program.names[done.number]
        if i["opcode"] in (Op.TABLE, Op.STORE):
            continue
        base = re.sub(r" (\[\d+\]|tokens .*)$", "", name)
        channels = spread if re.search(r"self\.(query|key|value)$", base) else np.arange(i["channels"])
        for place, steps in zip(program.sequences, wanted, strict=True):
            first = max(place.first_token, i["first_token"])
            end = min(place.first_token + place.tokens, i["first_token"] + i["tokens"])
            if i["opcode"] == Op.POOL:
                end = min(end, i["first_token"] + 1)
            if first >= end:
                continue
            step = steps[base]
            part = slice(first - place.first_token, end - place.first_token)
            if step.store is not None:
                rows = machine.rows(i["y_base"], i["y_pitch"], end - i["first_token"], int(channels.max()) + 1)
                got = rows[first - i["first_token"] :, channels]
                assert np.array_equal(got, step.store[part].numpy()), name
                compared += 1
            if step.residual is not None:
                got = machine.residual[first:end, : step.residual.shape[1]]
                assert np.array_equal(got, step.residual[part].numpy()), name
                compared += 1
    assert compared >= len(lengths) * (len(wanted[0]) - 1)
    means = torch.stack([encoder.means(torch.tensor(row)) for row in ids])
    assert np.array_equal(program.result("embedding", machine.memory), means.numpy())
    if encoder.classes:
        logits = torch.stack([encoder.logits(torch.tensor(row)) for row in ids]).numpy()
        scale = next(result.scale for result in program.results if result.name == "logits")
        assert np.allclose(program.result("logits", machine.memory) * scale, logits)
    return program


@pytest.mark.parametrize(
    ("config", "sizes", "lengths"),
    [
        (SMALL, {"hidden": 24, "heads": 3, "inner": 40}, [9]),  # heads of one group each
        (SMALL, {"hidden": 24, "heads": 3, "inner": 40, "pattern": "2:8", "classes": 3}, [9, 1, 6]),
        (SMALL, {"hidden": 24, "heads": 2, "inner": 40, "pattern": "2:8"}, [5, 4]),  # groups across heads
        (SMALL, {"hidden": 18, "heads": 2, "inner": 23, "pattern": "1:4"}, [7]),
        (WIDE, {"hidden": 48, "heads": 4, "inner": 64, "pattern": "2:4"}, [16, 15]),
        (WIDE, {"hidden": 16, "heads": 2, "inner": 33, "pattern": "3:8", "classes": 5}, [1]),
        (ODD, {"hidden": 40, "heads": 4, "inner": 56, "pattern": "3:16"}, [10, 2]),
        (ODD, {"hidden": 41, "heads": 1, "inner": 17}, [11]),
        (TINY, {"hidden": 18, "heads": 3, "inner": 20, "pattern": "1:2", "layers": 1}, [5, 3]),
        (StaConfig(), {"hidden": 24, "heads": 3, "inner": 40, "pattern": "2:8"}, [32, 16, 8]),
    ],
)
def test_machine_equals_the_integer_encoder(config: StaConfig, sizes: dict, lengths: list[int]) -> None:
    check_every_step(config, artefact(**sizes), lengths)
