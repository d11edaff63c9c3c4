"""The writer's parts: maxima over the slots of a token as close as they may come; a residual that saturates."""

import pytest
from amaranth.hdl import Fragment
from amaranth.sim import Simulator

from rtl.sta.params import StaConfig
from rtl.sta.results.residual import Residual
from rtl.sta.results.writer import ActivationStoreWriter, Maxima, ResidualWriter
from tests.rtl import simulate
from tests.rtl.lib.test_collisions import Inverting
from tests.rtl.simulate import seeded, trace

CONFIGURATIONS = {
    "8 lanes": StaConfig(rows=2, cols=8, drain=8, m=8, max_tokens=6, hidden=40, store_words=30),
    "2 lanes": StaConfig(rows=3, cols=6, drain=4, m=4, port_bytes=16, max_tokens=7, hidden=11, store_words=300),
    "1 lane": StaConfig(rows=1, cols=5, drain=4, m=2, port_bytes=1, max_tokens=3, hidden=3, store_words=17),
    "a word is a slot": StaConfig(rows=1, cols=4, drain=4, n=1, m=2, port_bytes=4, max_tokens=2, hidden=9),
}
EVERY = pytest.mark.parametrize("name", CONFIGURATIONS)
IDLE = {"slots.valid": 0}


@EVERY
@pytest.mark.parametrize("top", [127, 20, -100])
def test_maxima(name: str, top: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of scores up to `top` alone: a smaller one must not look like none. Channels that there are not do not count.
    Nothing depends on what the memory gives where a word is read while it is written."""
    monkeypatch.setattr(simulate, "Simulator", lambda top: Simulator(Fragment.get(top, Inverting())))
    c = CONFIGURATIONS[name]
    rng = seeded(name, top)
    cycles = []
    wants: list[dict[str, int] | None] = []
    best: dict[int, int] = {}
    piece: dict[int, int] = {}
    token = 0
    for _ in range(1500):
        if rng.random() < 0.2:
            cycles.append({"slots.valid": 0})
            wants.append(None)
            continue
        if rng.random() < 0.4:
            token = rng.randrange(c.max_tokens)
        piece[token] = 0 if rng.random() < 0.2 else piece.get(token, -1) + 1
        kept = rng.randint(1, c.drain_lanes)
        values = [rng.randint(-128, top if lane < kept else 127) for lane in range(c.drain_lanes)]
        most = max(values[:kept])
        best[token] = most if piece[token] == 0 else max(most, best[token])
        row, tile = token % c.rows, token // c.rows
        where = {"token": token, "row": row, "tile": tile, "piece": piece[token], "keep": (1 << kept) - 1}
        cycles.append({"slots.valid": 1, "slots.destination": where, "slots.values": values})
        wants.append({"row": row, "tile": tile, "value": best[token]})
    unit = Maxima(c)
    record = trace(unit, cycles + [{"slots.valid": 0}] * Maxima.LATENCY, unit.maximum)
    for want, (bits,) in zip(wants, record[Maxima.LATENCY :], strict=True):
        got = unit.maximum.shape().from_bits(bits)
        assert got.enable == (want is not None)
        if want:
            assert {field: got[field] for field in want} == want


@EVERY
def test_residual_writer(name: str) -> None:
    """Set and added, at the ends of the range, each with what its statistics get."""
    c = CONFIGURATIONS[name]
    rng = seeded(name)
    ends = (-32768, -1, 0, 1, 32767)
    for add in (0, 1):
        unit = ResidualWriter(c)
        given = []
        for _ in range(300):
            values, held = (
                [rng.choice([*ends, rng.randint(-32768, 32767)]) for _ in range(c.drain_lanes)] for _ in range(2)
            )
            given.append((rng.randrange(c.max_tokens), rng.randrange(c.residual_words), values, held))
        reads = 1 + Residual.LATENCY  # from the results to the word that is there
        cycles = [
            {
                "slots.valid": 1,
                "add": add,
                "slots.destination": {"token": given[i % 300][0], "piece": given[i % 300][1]},
                "slots.values": given[i % 300][2],
                "read.word": given[(i - reads) % 300][3],
            }
            for i in range(300 + ResidualWriter.LATENCY)
        ]
        watch = (unit.read.address, unit.write.enable, unit.write.address, unit.write.word, unit.statistics)
        record = trace(unit, cycles, *watch)
        for i, (token, piece, values, held) in enumerate(given):
            address = token * c.residual_words + piece
            assert record[i + 1][0] == address
            _, enable, write_address, data, bits = record[i + ResidualWriter.LATENCY]
            sums = [max(-32768, min(32767, v + (h if add else 0))) for v, h in zip(values, held, strict=True)]
            word = unit.write.word.shape().from_bits(data)
            assert (enable, write_address, [word[lane] for lane in range(c.drain_lanes)]) == (1, address, sums)
            statistics = unit.statistics.shape().from_bits(bits)
            assert (statistics.enable, statistics.token, statistics.first) == (1, token, piece == 0)
            assert [statistics.values[lane] for lane in range(c.drain_lanes)] == sums


@EVERY
def test_store_writer(name: str) -> None:
    c = CONFIGURATIONS[name]
    rng = seeded(name)
    unit = ActivationStoreWriter(c)
    given = []
    for _ in range(300):
        base = rng.randrange(c.store_words)
        channel = rng.randrange(min(1 << 12, (c.store_words - base) * c.store_word_bytes)) // c.drain_lanes
        values = [rng.randint(-128, 127) for _ in range(c.drain_lanes)]
        given.append((rng.randrange(c.rows), base, channel, values, rng.randrange(2)))
    cycles = [
        {
            "slots.valid": valid,
            "slots.destination": {"row": row, "base": base, "piece": piece},
            "slots.values": values,
        }
        for row, base, piece, values, valid in given
    ]
    record = trace(unit, [*cycles, IDLE], unit.write)
    for (row, base, piece, values, valid), (bits,) in zip(given, record[1:], strict=True):
        write = unit.write.shape().from_bits(bits)
        assert write.enable == valid
        if valid:
            word, first = divmod(piece * c.drain_lanes, c.store_word_bytes)
            assert (write.bank, write.address) == (row, base + word)
            assert write.strobe == ((1 << c.drain_lanes) - 1) << first
            assert [write.data >> 8 * (first + lane) & 0xFF for lane in range(c.drain_lanes)] == [
                value & 0xFF for value in values
            ]
