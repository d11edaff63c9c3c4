"""Frames of the link, in Python."""

import random

from boards.link import ESCAPE, FLAG, Unstuffer, stuffed

SEED = 2026


def test_frames_come_out_of_any_cut() -> None:
    generator = random.Random(SEED)
    frames = [
        bytes(generator.choice((FLAG, ESCAPE, 0, 255)) for _ in range(generator.randrange(1, 60))) for _ in range(50)
    ]
    wire = b"".join(map(stuffed, frames))
    unstuffer, found = Unstuffer(), []
    while wire:
        cut = generator.randrange(1, 20)
        found += list(unstuffer.feed(wire[:cut]))
        wire = wire[cut:]
    assert found == frames


def test_a_changed_bit_is_found() -> None:
    frame = bytes(range(100, 140))
    good = stuffed(frame)
    for at in range(1, len(good) - 1):
        for bit in range(8):
            bad = bytearray(good)
            bad[at] ^= 1 << bit
            assert list(Unstuffer().feed(bytes(bad))) != [frame]
            assert list(Unstuffer().feed(bytes(bad) + good))[-1:] == [frame]
