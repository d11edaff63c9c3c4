"""Groups of rows: each walks through its own tokens, and together they are all of an instruction's."""

from collections import deque
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import SimulatorContext

from rtl.params import ceil_div
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.isa import Op
from rtl.sta.latencies import pool_join_cycles
from rtl.sta.params import StaConfig
from rtl.sta.results.gather_switch import GatherSwitch
from rtl.sta.results.row_groups import PoolJoin, group_instruction
from tests.rtl.simulate import drive, gaps, run, seeded, trace


def config(rows: int, groups: int, max_tokens: int = 60, **further: int) -> StaConfig:
    return StaConfig(
        n=1, m=4, rows=rows, cols=4, drain=4, port_bytes=8, max_tokens=max_tokens, max_k=8, hidden=8, groups=groups,
        **further,
    )  # fmt: skip


FIELDS = ("own_tokens", "tokens", "first_token", "normalise")


class GroupInstruction(wiring.Component):
    """`group_instruction` of every group."""

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        members = dict.fromkeys(FIELDS, 16)
        super().__init__(
            {
                "instruction": In(instruction_layout(config)),
                "own": Out(data.StructLayout(members)).array(config.groups),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for k, own in enumerate(self.own):
            fields = group_instruction(m, self._config, k, self.instruction)
            m.d.comb += [own[name].eq(fields[name]) for name in FIELDS]
        return m


@pytest.mark.parametrize(("rows", "groups"), [(2, 2), (6, 3), (8, 2), (7, 7), (12, 4)])
def test_tokens_of_each_group(rows: int, groups: int) -> None:
    """Of any number of tokens: those in its rows, and phantoms where others have a tile more."""
    c = config(rows, groups)
    dut = GroupInstruction(c)
    cases = [
        {"opcode": int(op), "tokens": tokens, "first_token": first, "normalise": 1}
        for op in (Op.PRODUCT, Op.NORM, Op.POOL, Op.GATHER)
        for tokens in range(1, c.max_tokens + 1)
        for first in (0, rows * (tokens % ceil_div(c.max_tokens, rows)))
    ]
    record = trace(dut, [{"instruction": case} for case in cases], *dut.own)
    for case, found in zip(cases, record, strict=False):
        for k, bits in enumerate(found):
            own = {name: bits >> 16 * i & 0xFFFF for i, name in enumerate(FIELDS)}
            tiles = ceil_div(case["tokens"], rows)
            mine = sum(token % rows // c.group_rows == k for token in range(case["tokens"]))
            assert mine == c.own_tokens(k, case["tokens"])
            walked = {
                Op.PRODUCT: max(mine, (tiles - 1) * c.group_rows + 1),
                Op.NORM: max(mine, 1),
                Op.POOL: c.own_tokens(0, case["tokens"]),
                Op.GATHER: mine,
            }[Op(case["opcode"])]
            wanted = {
                "own_tokens": mine,
                "tokens": walked,
                "first_token": case["first_token"] // groups,
                "normalise": int(mine > 0),
            }
            assert own == wanted, f"{case}, group {k}"


@pytest.mark.parametrize("groups", [2, 3, 4, 8])
def test_sums_of_all_groups(groups: int) -> None:
    """Full-range sums that do not overflow together; valid and destination are the first group's."""
    c = config(24, groups)
    dut, rng = PoolJoin(c), seeded(groups)
    most = (1 << (c.accumulator_bits - 1)) // groups - 1
    cycles = [
        [{"valid": rng.getrandbits(1), "values": [rng.randint(-most, most) for _ in range(c.drain_lanes)], "piece": i}
         for _ in range(groups)]
        for i in range(60)
    ]  # fmt: skip
    late = pool_join_cycles(c)

    async def testbench(ctx: SimulatorContext) -> None:
        for i in range(len(cycles)):
            for port, given in zip(dut.sums, cycles[i], strict=True):
                drive(ctx, port, {"valid": given["valid"], "values": given["values"]})
                ctx.set(port.destination.piece, given["piece"])
            valid, piece, *values = (
                ctx.get(one) for one in (dut.slots.valid, dut.slots.destination.piece, *dut.slots.values)
            )
            if i >= late:
                before = cycles[i - late]
                assert valid == before[0]["valid"]
                assert piece == i - late
                assert values == [sum(one["values"][lane] for one in before) for lane in range(c.drain_lanes)]
            await ctx.tick()

    run(dut, testbench, limit=len(cycles))


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize(("rows", "groups", "tokens"), [(4, 2, 9), (6, 3, 2), (6, 3, 17), (4, 4, 60), (8, 2, 8)])
def test_ids_and_rows_come_to_their_group(rows: int, groups: int, tokens: int, seed: int | None) -> None:
    """Each group gets the numbers of its tokens in order, asks for their rows, and gets those and no others."""
    c = config(rows, groups)
    dut, rng, beats = GatherSwitch(c), seeded(rows, groups, tokens, seed), 3
    group_of = [token % rows // c.group_rows for token in range(tokens)]
    ids = [rng.getrandbits(32) for _ in range(tokens)]
    wanted = [[one for one, k in zip(ids, group_of, strict=True) if k == group] for group in range(groups)]
    ids_a_beat = c.port_bytes // 4
    padded = ids + [0] * (-tokens % ids_a_beat)
    id_beats = deque(
        sum(one << 32 * i for i, one in enumerate(padded[at : at + ids_a_beat]))
        for at in range(0, len(padded), ids_a_beat)
    )
    got: list[list[int]] = [[] for _ in range(groups)]
    cut: list[list[int]] = [[] for _ in range(groups)]
    asked = [0] * groups  # segments that were taken
    on_the_way: deque[int] = deque()  # beats of rows
    stalls = {part: gaps(seed, part) for part in ("ids", "segment", "in", *map(str, range(groups)))}

    async def testbench(ctx: SimulatorContext) -> None:
        own = [c.own_tokens(k, tokens) for k in range(groups)]
        offering = {"ids": False, "in": False}
        for cycle in range(4000):
            inputs: dict[str, Any] = {"start": cycle == 2, "job": {"tokens": tokens, "own": own, "beats": beats}}
            for name, port, waiting in (("ids", "ids_in", id_beats), ("in", "rows_in", on_the_way)):
                offering[name] = offering[name] or bool(waiting and cycle > 4 and not stalls[name].stall())
                inputs |= {f"{port}.valid": offering[name], f"{port}.payload": waiting[0] if offering[name] else 0}
            inputs["segment.ready"] = not stalls["segment"].stall()
            drive(ctx, dut, inputs)
            for k in range(groups):
                offers = asked[k] < len(got[k])
                drive(ctx, dut.segments[k], {"valid": offers})
                if offers:
                    ctx.set(dut.segments[k].payload.address, got[k][asked[k]])
                    ctx.set(dut.segments[k].payload.beats, beats)
                ready = cycle > 3 and not stalls[str(k)].stall()
                drive(ctx, dut.ids[k], {"ready": ready})
                drive(ctx, dut.rows[k], {"ready": ready})
            seen = {
                "ids": ctx.get(dut.ids_in.ready),
                "in": ctx.get(dut.rows_in.ready),
                "segment": ctx.get(dut.segment.valid) and ctx.get(dut.segment.ready),
            }
            if seen["segment"]:
                address = ctx.get(dut.segment.payload.address)
                on_the_way.extend(address << 8 | beat for beat in range(beats))
            for k in range(groups):
                asked[k] += ctx.get(dut.segments[k].valid) and ctx.get(dut.segments[k].ready)
                for port, kept in ((dut.ids[k], got[k]), (dut.rows[k], cut[k])):
                    if ctx.get(port.valid) and ctx.get(port.ready):
                        kept.append(ctx.get(port.payload))
            for name, waiting in (("ids", id_beats), ("in", on_the_way)):
                if offering[name] and seen[name]:
                    waiting.popleft()
                    offering[name] = False
            await ctx.tick()
            if sum(map(len, cut)) == beats * tokens:
                break

    run(dut, testbench, limit=4000)
    assert got == wanted
    assert cut == [[one << 8 | beat for one in of_group for beat in range(beats)] for of_group in wanted]
