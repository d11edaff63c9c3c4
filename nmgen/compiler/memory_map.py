"""Where a program's data lies: regions of memory, and words of the activation store."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtl.params import InputError, ceil_div, round_up
from rtl.sta.params import StaConfig
from sim.image.product import Region

ALIGNMENT = 64  # of a region: whole beats of any port, whole instructions
MEMORY_MAX = 1 << 32


class Memory:
    """Regions one after another from address 0; equal contents of shared regions lie there once."""

    def __init__(self) -> None:
        self.regions: list[Region] = []
        self._parts: list[bytes] = []
        self._end = 0
        self._shared: dict[bytes, int] = {}

    def put(self, name: str, contents: NDArray[np.uint8] | bytes) -> int:
        """The address of a new region with these contents."""
        data = contents if isinstance(contents, bytes) else np.ascontiguousarray(contents).tobytes()
        address, self._end = self._end, self._end + round_up(len(data), ALIGNMENT)
        if self._end > MEMORY_MAX:
            raise InputError(f"{name} would end at byte {self._end} of memory, addresses end at {MEMORY_MAX}")
        self.regions.append(Region(name, address, len(data)))
        self._parts.append(data + bytes(self._end - address - len(data)))
        return address

    def share(self, name: str, contents: NDArray[np.uint8]) -> int:
        """As put, unless there is a region of these contents that may be shared."""
        data = contents.tobytes()
        if data not in self._shared:
            self._shared[data] = self.put(name, data)
        return self._shared[data]

    def image(self) -> bytes:
        return b"".join(self._parts)


@dataclass(frozen=True)
class Rows:
    """A region of the store that holds a row for each token of some token tiles: words of each bank."""

    base: int
    pitch: int

    def at(self, tile: int = 0, word: int = 0) -> int:
        """The base of an instruction whose first token tile is that one of the region."""
        return self.base + tile * self.pitch + word


@dataclass(frozen=True)
class StorePlan:
    """The regions of an encoder.

    The operand of linear layers lives alone, then beside queries, keys and values; scores take its place; the context
    takes the queries'; what is between the feed-forward layers lies behind the operand, of a block of token tiles.
    """

    operand: Rows
    queries: Rows
    keys: Rows
    values: Rows
    scores: Rows
    inner: Rows
    inner_tiles: int  # token tiles that `inner` holds
    words: int  # of each bank, used


def words(config: StaConfig, elements: int) -> int:
    """Words of a row of whole groups."""
    return ceil_div(round_up(elements, config.m), config.store_word_bytes)


def plan_store(
    config: StaConfig, *, tiles: int, sequence_tiles: int, hidden: int, heads_width: int, keys: int, inner: int
) -> StorePlan:
    """Places for an encoder over so many token tiles.

    Parameters
    ----------
    sequence_tiles, keys : of the longest sequence
    heads_width : bytes of the queries of a token, every head in whole words
    inner : channels between the two feed-forward layers

    Raises
    ------
    InputError : the store has too few words.
    """
    operand, head, score, between = (words(config, size) for size in (hidden, heads_width, keys, inner))
    begin = max(operand * tiles, score * sequence_tiles)
    attention = begin + 3 * head * tiles
    if attention > config.store_words:
        raise InputError(
            f"the store has {config.store_words} words a bank, attention over {tiles} token tiles of {config.rows} "
            f"takes {attention}: {attention - config.store_words} too many (store_words)"
        )
    room = config.store_words - operand * tiles
    if room < between:
        raise InputError(
            f"the store has {config.store_words} words a bank, a feed-forward block of one token tile takes "
            f"{operand * tiles + between}: {between - room} too many (store_words)"
        )
    blocks = ceil_div(tiles, min(tiles, room // between))
    inner_tiles = ceil_div(tiles, blocks)
    return StorePlan(
        operand=Rows(0, operand),
        scores=Rows(0, score),
        queries=Rows(begin, head),
        keys=Rows(begin + head * tiles, head),
        values=Rows(begin + 2 * head * tiles, head),
        inner=Rows(operand * tiles, between),
        inner_tiles=inner_tiles,
        words=max(attention, operand * tiles + between * inner_tiles),
    )
