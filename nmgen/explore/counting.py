"""Cycles of a candidate on a configuration, exact, and where they go: what worker processes do.

On a core it is the whole program, compiled and estimated; on an engine its linear layers, one product each.
"""

import re
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import rtl
from nmgen.console.code_digest import code_digest
from rtl.params import Config, InputError
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    from nmgen.estimate.cycles import Estimate
    from pruning.files.artefact import Artefact

# The code that counts: the hardware's legality and latencies, the compiler, the estimate.
PARTS = ("compiler", "estimate", "explore", "families", "models")
CODE = (Path(rtl.__file__).parent, *(Path(__file__).parents[1] / part for part in PARTS))
LAYER = re.compile(r"\blayers?\.(\d+)\.")
BEFORE, BEHIND = "embeddings", "end"


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the cycles are of.

    lengths : tokens of each sequence; none where a model has its own, as a ViT
    memory_bytes_per_cycle : that memory brings; None: as many as the port takes
    """

    lengths: tuple[int, ...]
    batch: int = 1
    mem_latency: int = 30
    memory_bytes_per_cycle: float | None = None


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Of a candidate on a configuration.

    Attributes
    ----------
    refused : why it has no program; all else is 0 then
    cycles : from start to done
    exact_cycles : the same before a memory that brings what the port takes
    multiplies : that the patterns need
    bytes : moved to and from memory
    store_words : of a bank of the activation store that its program uses: with fewer in the store, down to these, the
        program is the same
    by_layer : cycles by layer and opcode
    held : cycles by the part of the hardware that needs the most of them in each instruction
    """

    refused: str = ""
    cycles: int = 0
    exact_cycles: int = 0
    multiplies: int = 0
    bytes: int = 0
    store_words: int = 0
    by_layer: dict[str, dict[str, int]] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)


def key_of(digest: str, config: Config, work: Work) -> str:
    """Of all that cycles depend on, the code that counts them too. digest : of the candidate's artefact"""
    groups = config.groups if isinstance(config, StaConfig) else 1
    # Elements of DSP slices have another latency; which slices these are, and how many rows have none, is the same.
    design = type(config).__name__, sorted(config.architecture.items()), config.pe, groups
    text = repr((code_digest(*CODE), digest, design, sorted(asdict(work).items())))
    return sha256(text.encode()).hexdigest()[:24]


def digest_of(artefact: Path) -> str:
    return digest_of_bytes(artefact.read_bytes())


def digest_of_bytes(data: bytes) -> str:
    return sha256(data).hexdigest()[:24]


def count(artefact: str, config: Config, work: Work) -> Counted:
    """artefact : its file"""
    if isinstance(config, StaConfig):
        return _count_core(artefact, config, work)
    return _count_engine(artefact, config, work)


@lru_cache(maxsize=4)
def _read(path: str) -> "Artefact":
    from pruning.files.artefact import read

    return read(path)


def _count_core(path: str, config: StaConfig, work: Work) -> Counted:
    from nmgen.compiler.memory_map import Unfilled
    from nmgen.estimate.bandwidth import at_bandwidth
    from nmgen.estimate.bounds import holder
    from nmgen.estimate.cycles import Constants, estimate, total
    from nmgen.models.model_program import compiled
    from rtl.sta.isa import FIELDS

    try:
        program = compiled(_read(path), path, config, list(work.lengths), work.batch, memory=Unfilled())
    except InputError as error:
        return Counted(refused=str(error))
    exact = estimate(program, Constants(memory=work.mem_latency))
    slow = work.memory_bytes_per_cycle
    estimates = exact if slow is None else at_bandwidth(program, exact, slow)
    sums = total(program, estimates)
    held: dict[str, int] = {}
    for one, fast, partial in zip(estimates, exact, program.instructions, strict=True):
        waits = one.cycles > fast.cycles
        part = "memory" if waits else holder(config, dict.fromkeys(FIELDS, 0) | partial)
        held[part] = held.get(part, 0) + one.cycles
    return Counted(
        cycles=sums["cycles"],
        exact_cycles=total(program, exact)["cycles"],
        multiplies=sums["multiplies"],
        bytes=sums["beats"] * config.port_bytes,
        store_words=program.about["store_words_used"],
        by_layer=_by_layer(estimates),
        held=held,
    )


def _by_layer(estimates: "list[Estimate]") -> dict[str, dict[str, int]]:
    """What has no layer's name belongs to what stands before it."""
    found: dict[str, dict[str, int]] = {}
    where, last = BEFORE, max((i for i, one in enumerate(estimates) if LAYER.search(one.name)), default=-1)
    for i, one in enumerate(estimates):
        if name := LAYER.search(one.name):
            where = f"layer {name[1]}"
        elif i > last >= 0:
            where = BEHIND
        ops = found.setdefault(where, {})
        ops[one.op.name] = ops.get(one.op.name, 0) + one.cycles
    return found


def _count_engine(path: str, config: Config, work: Work) -> Counted:
    """The linear layers one after another, each for all tokens."""
    from rtl.engine.cycles import product_cycles
    from rtl.product import Product

    tokens = sum(work.lengths) * work.batch
    by_layer: dict[str, dict[str, int]] = {}
    cycles = exact = multiplies = moved = waits = 0
    for layer in _read(path).layers.values():
        try:
            packed = pattern_on(layer.n, layer.m, config.m)
            product = Product(
                config=config,
                tokens=tokens,
                k=layer.k,
                channels=layer.channels,
                pattern_n=packed,
                out_bits=layer.out_bits,
            )
            alone = product_cycles(
                config, tokens, layer.k, layer.channels, packed, work.mem_latency, out_bits=layer.out_bits
            )
        except InputError as error:
            return Counted(refused=f"{layer.name}: {error}")
        found = LAYER.search(layer.name)
        ops = by_layer.setdefault(f"layer {found[1]}" if found else layer.name, {})
        kind = layer.name.rpartition(".")[2]
        size = product.bytes_read + product.bytes_written
        slow = work.memory_bytes_per_cycle
        taken = alone if slow is None else max(alone, round(size / slow))
        ops[kind] = ops.get(kind, 0) + taken
        cycles += taken
        waits += taken if taken > alone else 0
        exact += alone
        multiplies += product.multiplies
        moved += size
    held = {part: count for part, count in (("array", cycles - waits), ("memory", waits)) if count}
    return Counted(cycles=cycles, exact_cycles=exact, multiplies=multiplies, bytes=moved, by_layer=by_layer, held=held)


def pattern_on(n: int, m: int, groups: int) -> int:
    """N′ of a layer of n:m in groups of another size, which hold whole groups or lie within one."""
    if n == m:
        return groups
    return n * groups // m if groups >= m else min(n, groups)
