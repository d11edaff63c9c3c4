"""The activation store of STA: words come out where and when promised, whatever rows, copies and writes do at once."""

import random

import pytest
from amaranth.sim import SimulatorContext

from rtl.lib.deep_memory import LEAST
from rtl.params import ceil_div
from rtl.sta.latencies import BANK_LATENCY, COPY_LATENCY, STORE_LATENCY
from rtl.sta.operands.store import ALWAYS, ActivationStore
from rtl.sta.params import StaConfig
from tests.nightly import but
from tests.rtl.simulate import drive, run, seeded

# Words of several groups, of one; one row; steps of a group that do not divide it; depths that are no power of two.
CONFIGURATIONS = {
    "two groups": StaConfig(n=2, m=8, rows=3, cols=2, port_bytes=16, max_tokens=12, max_k=64, store_words=13),
    "narrow port": StaConfig(n=3, m=16, rows=4, cols=5, port_bytes=4, max_tokens=9, max_k=64, store_words=6),
    "one row": StaConfig(n=2, m=2, rows=1, cols=3, port_bytes=8, max_tokens=1, max_k=16, store_words=5),
    "one word": StaConfig(n=1, m=4, rows=5, cols=4, port_bytes=1, max_tokens=20, max_k=16, store_words=1),
    "two parts": StaConfig(n=1, m=4, rows=2, cols=2, port_bytes=4, max_tokens=8, max_k=16, store_words=768),
    "groups of rows": StaConfig(
        n=2, m=8, rows=8, cols=4, port_bytes=4, max_tokens=19, max_k=16, store_words=6, groups=4
    ),
    "two lanes": StaConfig(n=2, m=4, rows=6, cols=2, port_bytes=4, max_tokens=19, max_k=16, store_words=5, groups=2),
    "n = m": StaConfig(n=4, m=4, rows=2, cols=2, port_bytes=64, max_tokens=7, max_k=16, store_words=3),
}
MARKS = ("valid", "first", "last", "sub", "softmax", "tile", "position")


class Bench:
    """Random steps, copies and writes, and what they must show. A word that was read while written is None."""

    def __init__(self, config: StaConfig, rng: random.Random, busy: float) -> None:
        self.config, self.rng, self.busy = config, rng, busy
        self.dut = ActivationStore(config)
        words = range(config.store_words)
        # Of many, those that differ in the part alone.
        self.words = words if len(words) < LEAST else [*words[:6], *words[LEAST:][:6]]
        self.content = [[bytes(config.store_word_bytes)] * config.store_words for _ in range(config.rows)]
        self.held: list[bytes | None] = [None] * config.rows  # what a row's steps use
        self.steps: list[dict[str, int]] = []  # of row 0, by cycle
        # Of each group of rows the write that reaches the memory in this cycle.
        self.landing = [{"enable": 0, "bank": 0, "address": 0}] * config.groups
        self.groups_due: dict[tuple[int, int], bytes | None] = {}
        self.copies_due: dict[int, list[bytes | None]] = {}
        self.checked = self.copied = 0

    def step(self) -> dict[str, int]:
        c, rng = self.config, self.rng
        valid = int(rng.random() < self.busy)
        return {
            "valid": valid,
            "first": rng.getrandbits(1),
            "last": rng.getrandbits(1),
            "read": int(valid and rng.random() < self.busy),
            "word": rng.choice(self.words),
            "group": rng.randrange(c.store_word_bytes // c.m),
            "sub": rng.randrange(c.steps_a_group),
            "tile": rng.randrange(c.maxima_tiles),
            "softmax": rng.getrandbits(1),
            "position": rng.randrange(ceil_div(c.max_tokens, c.m)),
        }

    def write(self) -> dict[str, int]:
        c, rng = self.config, self.rng
        size = c.store_word_bytes
        return {
            "enable": int(rng.random() < 0.4),
            "bank": rng.randrange(c.group_rows),
            "address": rng.choice(self.words),
            "data": rng.getrandbits(8 * size),
            "strobe": rng.choice([rng.getrandbits(size), (1 << size) - 1]),
        }

    def read(self, bank: int, address: int) -> bytes | None:
        group, own = divmod(bank, self.config.group_rows)
        landing = self.landing[group]
        collides = landing["enable"] and (landing["bank"], landing["address"]) == (own, address)
        return None if collides else self.content[bank][address]

    def land(self) -> None:
        for group, write in enumerate(self.landing):
            if write["enable"]:
                bank = self.content[group * self.config.group_rows + write["bank"]]
                new = write["data"].to_bytes(self.config.store_word_bytes, "little")
                pairs = enumerate(zip(new, bank[write["address"]], strict=True))
                bank[write["address"]] = bytes(n if write["strobe"] >> i & 1 else o for i, (n, o) in pairs)

    async def exercise(self, ctx: SimulatorContext, cycles: int) -> None:
        c, rng, dut = self.config, self.rng, self.dut
        lanes = c.copy_lanes
        next_cycle_busy = 0
        values = [v for row in dut.rows for v in (row.group.as_value(), *(row[mark] for mark in MARKS))]
        for cycle in range(cycles):
            self.steps.append(self.step())
            request = {"valid": 0, "bank": rng.randrange(c.rows // lanes), "address": rng.choice(self.words)}
            request["valid"] = int(rng.random() < 0.7 and not next_cycle_busy >> request["bank"] & 1)
            writes = [self.write() for _ in range(c.groups)]
            drive(ctx, dut, {"step": self.steps[cycle], "write": writes if c.groups > 1 else writes[0]})
            drive(ctx, dut, {"copy.request": request})
            _, _, next_cycle_busy, valid, word, *rows = await ctx.tick().sample(
                dut.copy.next_cycle_busy, dut.copy.valid, dut.copy.data, *values
            )

            busy = set()
            for row in range(min(c.rows, cycle)):
                step = self.steps[cycle - row - 1]
                if step["valid"] and step["read"]:
                    busy.add(row)
                    self.held[row] = self.read(row, step["word"])
                held = self.held[row]
                at = c.m * step["group"]
                self.groups_due[cycle + BANK_LATENCY, row] = held and held[at : at + c.m]
            reads_next = [step["valid"] and step["read"] for step in self.steps[: -c.rows - 1 : -1]]
            wanted = 0
            for row, reads in enumerate(reads_next):
                wanted |= reads << row // lanes
            assert next_cycle_busy == wanted, f"cycle {cycle}: rows that read"
            if request["valid"]:
                first = request["bank"] * lanes
                assert not busy & {*range(first, first + lanes)}
                self.copies_due[cycle + COPY_LATENCY] = [
                    self.read(bank, request["address"]) for bank in range(first, first + lanes)
                ]
                self.copied += 1
            self.land()
            self.landing = writes

            assert valid == (cycle in self.copies_due), f"cycle {cycle}: copy"
            for lane, copy in enumerate(self.copies_due.pop(cycle, [])):
                bits = 8 * c.store_word_bytes
                found = word >> lane * bits & ((1 << bits) - 1)
                assert copy is None or found == int.from_bytes(copy, "little"), f"cycle {cycle}: copied word {lane}"
            for row in range(c.rows):
                group, *marks = rows[len(MARKS) * row + row :][: len(MARKS) + 1]
                came = cycle - row - STORE_LATENCY
                if came < 0:
                    continue
                step, found = self.steps[came], dict(zip(MARKS, marks, strict=True))
                marked = MARKS if step["valid"] else ALWAYS
                assert [found[mark] for mark in marked] == [step[mark] for mark in marked], f"cycle {cycle}, row {row}"
                want = self.groups_due.pop((cycle, row), None)
                if want is not None and step["valid"]:
                    assert group == int.from_bytes(want, "little"), f"cycle {cycle}, row {row}: group"
                    self.checked += 1


@pytest.mark.parametrize("busy", but([0.2, 0.6, 0.95], [0.2]))
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_store(name: str, busy: float) -> None:
    bench = Bench(CONFIGURATIONS[name], seeded(name, busy), busy)

    async def testbench(ctx: SimulatorContext) -> None:
        await bench.exercise(ctx, 900)

    run(bench.dut, testbench, limit=900)
    assert bench.checked > 100
    assert bench.copied > (10 if bench.config.copy_lanes == 1 else 0)
