"""Where a program's data lies: regions of memory, and words of the activation store."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtl.params import InputError, ceil_div, round_up
from rtl.product import Product
from rtl.sta.legality import max_heads
from rtl.sta.params import StaConfig
from sim.image.product import Region, pack_weights

ALIGNMENT = 64  # of a region: whole beats of any port, whole instructions
MEMORY_MAX = 1 << 32
ACTIVATIONS = "activations"  # the region of those that go to memory and come back


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

    def weights(self, name: str, product: Product, weights: NDArray[np.int8], units: NDArray[np.uint8]) -> int:
        """As share, of a layer's column tiles."""
        return self.share(name, pack_weights(product, weights, units))

    def scratch(self, name: str, size: int) -> int:
        """The address of zeros that programs write to: of a region with that name and size, or a larger one, if there
        is any."""
        for region in self.regions:
            if region.name == name and region.size >= size:
                return region.address
        return self.put(name, bytes(size))

    def image(self) -> bytes:
        return b"".join(self._parts)


class Unfilled(Memory):
    """For cycles, which do not depend on the weights: those of layers stay zeros, which takes a third of the time."""

    def weights(self, name: str, product: Product, weights: NDArray[np.int8], units: NDArray[np.uint8]) -> int:
        return self.put(name, bytes(product.column_tiles * product.w_tile_beats * product.config.port_bytes))


@dataclass(frozen=True)
class Rows:
    """A region of the store that holds a row for each token of some token tiles: words of each bank."""

    base: int
    pitch: int

    def behind(self, tile: int = 0, word: int = 0) -> "Rows":
        """What begins so many token tiles, and words of a row, later."""
        return Rows(self.base + tile * self.pitch + word, self.pitch)


@dataclass(frozen=True)
class StorePlan:
    """The regions of an encoder, and what they hold at a time.

    Attention is of some heads at a time over all keys, and of a block of queries over these. The context takes the
    queries' place, of all heads side by side; what is between the feed-forward layers lies behind the operand.

    Resident: operand and queries are of all tokens. Scores take the operand's place where all heads are done at once,
    as it is dead by then. Spilled: both are of the block of queries alone, and operand and context go to memory.
    """

    operand: Rows
    queries: Rows
    keys: Rows
    values: Rows
    scores: int  # where they begin
    score_words: int  # that they have
    inner: Rows
    context: Rows  # of all heads: input of the attention's output layer
    heads: int  # whose keys and values are there at a time
    query_tiles: int  # token tiles whose scores are there at a time
    inner_tiles: int  # token tiles that `inner` holds
    spilled: bool
    words: int  # of each bank, used


def words(config: StaConfig, elements: int) -> int:
    """Words of a row of whole groups."""
    return ceil_div(round_up(elements, config.m), config.store_word_bytes)


# Token tiles that the array works through while the next column tile is copied, of keys, or read, of weights.
ENOUGH_QUERY_TILES = 4
ENOUGH_INNER_TILES = 2


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a plan is made for.

    tiles : token tiles of all sequences
    sequence_tiles, keys : of the longest sequence
    hidden, inner : channels, between the blocks' parts and between the two feed-forward layers
    heads, head_pitch : heads, and bytes from one to the next, whole words
    """

    tiles: int
    sequence_tiles: int
    keys: int
    hidden: int
    inner: int
    heads: int
    head_pitch: int


def plan_store(config: StaConfig, sizes: Sizes) -> StorePlan:
    """The plan that takes the fewest cycles, by rules that the estimate bears out (docs/architecture.md).

    Enough token tiles at a time before all else, then what stays in the store before what goes to memory.

    Raises
    ------
    InputError : the store has too few words for any.
    """
    plans = list(_plans(config, sizes))
    fitting = [plan for plan in plans if plan.words <= config.store_words]
    if not fitting:
        least = min(plan.words for plan in plans)
        raise InputError(
            f"the store has {config.store_words} words a bank, attention of a head over {sizes.sequence_tiles} token "
            f"tiles of {config.rows} and a feed-forward block of one take {least}: {least - config.store_words} too "
            "many (store_words)"
        )
    return min(fitting, key=lambda plan: _cost(sizes, plan))


def _cost(sizes: Sizes, plan: StorePlan) -> tuple[int, ...]:
    """By what plans are compared, what costs most first."""
    enough_queries = plan.query_tiles >= min(ENOUGH_QUERY_TILES, sizes.sequence_tiles)
    enough_inner = plan.inner_tiles >= min(ENOUGH_INNER_TILES, sizes.sequence_tiles)
    blocks, groups = ceil_div(sizes.sequence_tiles, plan.query_tiles), ceil_div(sizes.heads, plan.heads)
    # Each group of heads reads the operand from memory again; where that is in the store it costs next to nothing.
    return (
        not (enough_queries and enough_inner),
        plan.spilled,
        *((groups, blocks) if plan.spilled else (blocks, groups)),
    )


def head_groups(config: StaConfig, heads: int, pitch: int) -> list[int]:
    """How many heads may be done at a time, most first: they end with a column tile, and so are a part of the weights
    as they are packed, or are all."""
    return [count for count in range(heads, 0, -1) if count == heads or count * pitch % config.cols == 0]


@dataclass(frozen=True)
class _Widths:
    """Words of a token's row of each region, some heads' queries being `own` and all heads' `every`."""

    operand: int
    score: int
    inner: int
    own: int
    every: int


def _plans(config: StaConfig, sizes: Sizes) -> Iterator[StorePlan]:
    """For each number of heads: resident, with as many token tiles of queries as there is room for, one at least;
    spilled, with every number of them."""
    operand, score, inner = (words(config, size) for size in (sizes.hidden, sizes.keys, sizes.inner))
    head = sizes.head_pitch // config.store_word_bytes
    blocks = {_shares(sizes.sequence_tiles, tiles + 1) for tiles in range(sizes.sequence_tiles)}
    for heads in head_groups(config, sizes.heads, sizes.head_pitch):
        widths = _Widths(operand, score, inner, heads * head, sizes.heads * head)
        yield _resident(config, sizes, heads, widths)
        for query_tiles in blocks:
            yield _spilled(config.store_words, sizes, heads, query_tiles, widths)


def _resident(config: StaConfig, sizes: Sizes, heads: int, widths: _Widths) -> StorePlan:
    room = config.store_words
    operand, tiles = widths.operand * sizes.tiles, sizes.tiles
    copies = 2 * widths.own * tiles
    context = widths.every * tiles
    # Scores over the operand, which is dead when all heads' queries are there, or behind it.
    over = heads == sizes.heads
    scores_at = 0 if over else operand
    score_room = max(operand * over, room - scores_at - context - copies)
    query_tiles = _shares(sizes.sequence_tiles, score_room // widths.score)
    # Scores of as many heads as an instruction may have, and there is room for.
    score_heads = max(1, min(score_room // (widths.score * query_tiles), max_heads(config, query_tiles), heads))
    queries_at = max(operand, scores_at + widths.score * query_tiles * score_heads)
    keys_at = queries_at + context
    inner_tiles = _shares(tiles, (room - operand) // widths.inner)
    return StorePlan(
        operand=Rows(0, widths.operand),
        scores=scores_at,
        score_words=queries_at - scores_at,
        queries=Rows(queries_at, widths.every),
        keys=Rows(keys_at, widths.own),
        values=Rows(keys_at + copies // 2, widths.own),
        context=Rows(queries_at, widths.every),
        inner=Rows(operand, widths.inner),
        heads=heads,
        query_tiles=query_tiles,
        inner_tiles=inner_tiles,
        spilled=False,
        words=max(keys_at + copies, operand + widths.inner * inner_tiles),
    )


def _spilled(room: int, sizes: Sizes, heads: int, query_tiles: int, widths: _Widths) -> StorePlan:
    copies = 2 * widths.own * sizes.sequence_tiles
    first = max(widths.operand, widths.score)  # scores over the operand
    keys_at = (first + widths.own) * query_tiles
    operand = widths.operand * query_tiles
    inner_tiles = _shares(query_tiles, (room - operand) // widths.inner)
    return StorePlan(
        operand=Rows(0, widths.operand),
        scores=0,
        score_words=first * query_tiles,
        queries=Rows(first * query_tiles, widths.own),
        keys=Rows(keys_at, widths.own),
        values=Rows(keys_at + copies // 2, widths.own),
        context=Rows(0, widths.every),
        inner=Rows(operand, widths.inner),
        heads=heads,
        query_tiles=query_tiles,
        inner_tiles=inner_tiles,
        spilled=True,
        words=max(keys_at + copies, widths.every * query_tiles, operand + widths.inner * inner_tiles),
    )


def _shares(tiles: int, room: int) -> int:
    """Tiles of a block where there is room for so many, so that as few blocks as need be are alike; one at least."""
    return ceil_div(tiles, ceil_div(tiles, max(1, min(tiles, room))))
