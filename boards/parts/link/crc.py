"""CRC-32, as zlib and Ethernet have it, a byte a step."""

from amaranth.hdl import Cat, Value

CRC_BITS = 32
POLYNOMIAL = 0xEDB88320  # the lowest bit first
START = 0xFFFF_FFFF
RESIDUE = 0xDEBB20E3  # of a frame with its own CRC behind it


def _of_a_byte(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
    return value


def step(crc: Value, byte: Value) -> Value:
    """The register after a byte. The CRC is its complement."""
    low = crc[:8] ^ byte
    # Each bit of the result is the parity of some of the byte's bits, and of one of the register's.
    taps = [_of_a_byte(1 << i) for i in range(8)]
    return Cat(
        Cat(*(low[i] for i in range(8) if taps[i] >> bit & 1), crc[bit + 8] if bit + 8 < CRC_BITS else 0).xor()
        for bit in range(CRC_BITS)
    )
