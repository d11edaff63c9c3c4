"""A wire that changes what goes over it, and a use of the link at random."""

import random
from zlib import crc32

from nmgen.driver.host import Fill, Host
from nmgen.driver.port import SerialWire


class NoisyWire:
    """A wire that flips bits, loses and doubles bytes, cuts what is sent and puts garbage between, both ways.

    rate : of bytes that something happens to
    """

    def __init__(self, wire: SerialWire, seed: int) -> None:
        self._wire, self._random, self.rate = wire, random.Random(seed), 0.0
        self.name = wire.name

    def _noisy(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            kind = self._random.randrange(5) if self._random.random() < self.rate else None
            match kind:
                case None:
                    out.append(byte)
                case 0:
                    out.append(byte ^ 1 << self._random.randrange(8))
                case 1:
                    pass
                case 2:
                    out += bytes([byte, byte])
                case 3:
                    return bytes(out)
                case 4:
                    out += self._random.randbytes(self._random.randrange(1, 40))
        return bytes(out)

    def write(self, data: bytes) -> None:
        self._wire.write(self._noisy(data))

    def read(self, timeout: float) -> bytes:
        return self._noisy(self._wire.read(timeout))

    def quiet(self) -> None:
        """Forget what is on its way."""
        self._wire.quiet()


def use_at_random(host: Host, wire: NoisyWire, *, rate: float, frames: int, beat: int, seed: int) -> None:
    """Writes, fills, reads and checksums of so many frames on a noisy wire, against a plain memory."""
    generator = random.Random(seed)
    base, size = 1 << 18, 32 << 10
    plain = bytearray(host.read(base, size))
    begun = host.sent
    wire.rate = rate
    while host.sent - begun < frames:
        at = generator.randrange(0, size - 2048) // beat * beat
        length = generator.randrange(beat, 2048) // beat * beat
        match 3 if generator.random() < 0.05 else generator.choice([0, 1, 2, 4]):
            case 0:
                data = generator.randbytes(length)
                assert sum(host.write(base + at, data)) == length
                plain[at : at + length] = data
            case 1:
                assert host.read(base + at, length) == plain[at : at + length]
            case 2:
                assert host.checksum(base + at, length) == crc32(plain[at : at + length])
            case 3:  # of a beat each, more than there are numbers of requests
                data = generator.randbytes(300 * beat)
                pieces = range(0, len(data), beat)
                assert sum(host.write_all((base + one, data[one : one + beat]) for one in pieces)) == len(data)
                plain[: len(data)] = data
            case 4:  # several, each over places of the one before
                begin = generator.randrange(0, size - 2048, 2)
                some = [Fill(base + begin, 3, 1, 4, step, generator.randrange(1 << 16)) for step in range(5)]
                host.fill(some)
                for fill in some:
                    for place in range(12):
                        one = begin + beat * (place % 3 + place // 3 * fill.pitch)
                        plain[one : one + 2] = fill.value.to_bytes(2, "little")
    wire.rate = 0.0
    wire.quiet()
    assert host.read(base, size) == plain, f"NMGEN_SEED={seed}"
