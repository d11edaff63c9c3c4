"""What a machine does, instruction after instruction, beside what the integer model says."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from nmgen.compiler.program import Program
from pruning.encoder.integer import Step
from rtl.params import ceil_div, round_up
from rtl.sta.isa import Op
from sim.golden.machine import Machine


def compare_steps(program: Program, machine: Machine, wanted: Sequence[Mapping[str, Step]]) -> None:
    """Runs a machine's program, and compares all that its instructions leave behind.

    wanted : the steps of each sequence by their names; every one has to be met.
    """
    hidden, heads = program.about["hidden"], program.about["heads"]
    size = hidden // heads
    pitch = round_up(size, program.config.store_word_bytes)
    spread = (np.arange(heads)[:, np.newaxis] * pitch + np.arange(size)).ravel()
    met: list[set[str]] = [set() for _ in wanted]
    for done in machine.run():
        i, name = done.instruction, program.names[done.number]
        if i["opcode"] in (Op.TABLE, Op.STORE) or name.startswith("load "):
            continue
        base = re.sub(r" (heads|tokens|\[).*$", "", name)
        of_heads = re.search(r" heads (\d+)-(\d+)", name)
        for number, (place, steps) in enumerate(zip(program.sequences, wanted, strict=True)):
            first = max(place.first_token, i["first_token"])
            end = min(place.first_token + place.tokens, i["first_token"] + i["tokens"])
            if i["opcode"] == Op.POOL:
                end = min(end, i["first_token"] + 1)
            if first >= end:
                continue
            part = slice(first - place.first_token, end - place.first_token)
            if base.endswith((".self.scores", ".self.context")):  # of several heads, which are steps of their own
                some = range(int(of_heads[1]), int(of_heads[2]) + 1) if of_heads else range(heads)
                assert len(some) == i["more_heads"] + 1
                for head in some:
                    step = steps[f"{base}.{head}"]
                    met[number].add(f"{base}.{head}")
                    at = i["y_base"] + (head - some.start) * ceil_div(i["channels"], program.config.store_word_bytes)
                    rows = machine.rows(at, i["y_pitch"], end - i["first_token"], i["channels"])
                    assert np.array_equal(rows[first - i["first_token"] :], step.store[part].numpy()), (name, head)
                continue
            step = steps[base]
            met[number].add(base)
            if step.store is not None:
                parts = re.search(r"\.(query|key|value)$", base)
                channels = spread if parts else np.arange(step.store.shape[1])
                expected = step.store[part].numpy()
                if parts and of_heads:
                    own = slice(size * int(of_heads[1]), size * (int(of_heads[2]) + 1))
                    channels, expected = channels[own] - channels[own.start], expected[:, own]
                rows = machine.rows(i["y_base"], i["y_pitch"], end - i["first_token"], int(channels.max()) + 1)
                assert np.array_equal(rows[first - i["first_token"] :, channels], expected), name
            if step.residual is not None:
                got = machine.residual[first:end, : step.residual.shape[1]]
                assert np.array_equal(got, step.residual[part].numpy()), name
            # and nothing else is written
            assert {"store", "residual"} & {effect.where for effect in done.effects} == {
                where for where in ("store", "residual") if getattr(step, where) is not None
            }, name
    for names, steps in zip(met, wanted, strict=True):
        assert names == steps.keys()
