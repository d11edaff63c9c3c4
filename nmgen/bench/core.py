"""Whole encoders on the RTL of STA: cycles, utilisation, what the estimate says: ``make bench-core``.

MiniLM, pruned by magnitude (cycles depend on patterns, not on weights), runs on the emitted Verilog in Verilator; its
embedding is compared with the golden machine's. Every run is kept in build/bench-core/ under a hash of Verilog and
program, so a bench that was stopped goes on where it was. The table goes into docs/results.md.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.bench.command import bench
from nmgen.bench.sections import replace_section
from nmgen.console.ending import process
from nmgen.console.files import written_whole
from nmgen.console.progress import say
from rtl.params import InputError
from rtl.sta.isa import Columns, Op, tile_groups
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    from nmgen.compiler.program import Program
    from nmgen.estimate.cycles import Estimate
    from pruning.families.bert.parameters import IntegerParameters

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "bench-core"
LATENCY = 30
BASE = StaConfig()
NARROW = replace(BASE, port_bytes=2, store_words=2 * BASE.store_words)  # words half as wide
SPARSE = replace(BASE, n=1)
DRAINS = (2, 8)  # beside that of BASE
MINILM = {"hidden": 384, "heads": 12, "inner": 1536}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row of the table: a pattern of all linear layers, and the lengths of the sequences of one program."""

    about: str
    config: StaConfig = BASE
    pattern: str
    lengths: tuple[int, ...]
    model: str = "minilm"  # or a key of RANDOM


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a case took on the RTL.

    Parameters
    ----------
    linear : utilisation of the linear layers, each from its execute to the next instruction's
    right : the embedding is the golden machine's
    taken : cycles of each instruction, from its execute to the next one's
    build_seconds, run_seconds : of the simulation
    """

    cycles: int
    utilisation: float
    linear: float
    bytes: int
    right: bool
    taken: list[int]
    build_seconds: float = 0.0
    run_seconds: float = 0.0


def cases() -> list[Case]:
    """What the aims are about comes first; then what else is worth knowing, and the same with other drains."""
    aims = [
        Case(about="base", pattern="2:8", lengths=(32,)),
        Case(about="base", pattern="2:8", lengths=(128,)),
        Case(about="base", pattern="dense", lengths=(128,)),
        Case(about="2 bytes a cycle", config=NARROW, pattern="2:8", lengths=(32,) * 4),
        Case(about="2 bytes a cycle", config=NARROW, pattern="2:8", lengths=(128,)),
        Case(about="N = 1", config=SPARSE, pattern="1:8", lengths=(128,)),
        Case(about="N = 1", config=SPARSE, pattern="dense", lengths=(128,)),
    ]
    further = [Case(about="base", pattern=pattern, lengths=(128,)) for pattern in ("1:8", "4:8")]
    others = [
        replace(case, about=f"{case.about}, drain {drain}", config=replace(case.config, drain=drain))
        for some in (aims[:-1], aims[-1:])  # the last takes as long as the others together
        for drain in DRAINS
        for case in some
    ]
    return [*aims, *further, *others]


@cache
def parameters(pattern: str) -> "IntegerParameters":
    """MiniLM's integers, all linear layers of its blocks pruned to the pattern."""
    from nmgen.console.threads import one_thread
    from pruning.data.text import read_sentences
    from pruning.families.bert.calibrate import calibrate
    from pruning.families.bert.export import to_artefact
    from pruning.families.bert.folder import load
    from pruning.families.bert.parameters import integer_parameters
    from pruning.files.folders import packaged_minilm
    from pruning.masks.sparsify import finalize, sparsify

    with one_thread():
        encoder = load(packaged_minilm())
        layers: dict[str, tuple[int, int]] = {}
        if pattern != "dense":
            names = set(encoder.linears())
            layers = dict(sparsify(encoder, pattern, filter_fn=lambda _layer, name: name in names).layers)
            finalize(encoder)
        scales = calibrate(encoder, read_sentences())
        return integer_parameters(to_artefact(encoder, layers, scales, {"model": "minilm", "pattern": pattern}))


# Encoders of seeded random integers, by the sizes of their blocks.
RANDOM: dict[str, dict[str, int]] = {
    "bert-base": {"hidden": 768, "heads": 12, "inner": 3072, "layers": 12},
    **{f"minilm, {layers} layers": MINILM | {"layers": layers} for layers in (1, 2, 3, 6, 12, 24)},
}


def parameters_of(case: Case) -> "IntegerParameters":
    from nmgen.bench.random_programs import random_encoder

    if case.model not in RANDOM:
        return parameters(case.pattern)
    pattern = f"{case.config.m}:{case.config.m}" if case.pattern == "dense" else case.pattern
    tokens = max(case.lengths)
    return random_encoder(random.Random(0), case.config, **RANDOM[case.model], pattern=pattern, tokens=tokens)


def measure(case: Case, say: Any) -> tuple[Measured, "list[Estimate]"]:
    """Run a case, unless this Verilog has run this program before; and what the estimate says of each instruction."""
    import numpy as np

    from nmgen.estimate.cycles import Constants, estimate
    from nmgen.families.bert.compiler import compile_encoder
    from nmgen.simulate.run_program import run
    from nmgen.verilog.bundle import generate

    program = compile_encoder(parameters_of(case), case.config, case.lengths)
    rng = np.random.default_rng(0)
    image = program.image([rng.integers(0, program.about["vocabulary"], n).tolist() for n in case.lengths])
    design = generate(case.config, CACHE / "verilog" / f"{case.config.identification:08x}")
    digest = sha256(image.tobytes())
    for source in design.sources:
        digest.update(source.read_bytes())
    kept = CACHE / f"{digest.hexdigest()[:16]}.json"
    estimates = estimate(program, Constants(memory=LATENCY))
    if not kept.exists():
        begin, built = time.monotonic(), 0.0

        def progress(text: str) -> None:
            nonlocal built
            if text.startswith("simulation: ") and not built:
                built = time.monotonic()
            say(text)

        ran = run(
            program,
            image,
            sources=design.sources,
            top=design.top,
            simulator="verilator",
            latency=LATENCY,
            seed=0,
            stall=False,
            build_dir=CACHE / "simulation",
            check_each=False,
            progress=progress,
        )
        end = time.monotonic()
        if ran.result is None:
            raise InputError(f"{case.about}, {case.pattern}: {ran.wrong[0]}")
        begins = [begin for begin, _ in ran.result.spans] + [ran.result.cycles]
        taken = [after - begin for begin, after in pairwise(begins)]
        found = Measured(
            cycles=ran.result.cycles,
            utilisation=ran.utilisation,
            linear=_linear(program, taken),
            bytes=ran.result.bytes_read + ran.result.bytes_written,
            right=not ran.wrong,
            taken=taken,
            build_seconds=built - begin,
            run_seconds=end - built,
        )
        with written_whole(kept) as path:
            path.write_text(json.dumps(asdict(found), indent=1) + "\n")
    return Measured(**json.loads(kept.read_text())), estimates


def _linear(program: "Program", taken: Sequence[int]) -> float:
    c = program.config
    needed = cycles = 0
    for fields, count in zip(program.instructions, taken, strict=True):
        if fields["opcode"] == Op.PRODUCT and fields.get("columns", 0) == Columns.MEMORY:
            needed += fields["tokens"] * fields["channels"] * tile_groups(fields) * fields["pattern_n"]
            cycles += count
    return needed / (cycles * c.rows * c.cols * c.n)


Row = tuple[Case, Measured, "list[Estimate]"]


def table(done: Sequence[Row]) -> str:
    """Markdown."""
    columns = ("configuration", "tokens", "pattern", "cycles", "to dense", "utilisation", "linear", "estimate", "bytes")
    text = [
        f"`make bench-core` writes this table; last run on {time.strftime('%Y-%m-%d')}. MiniLM, 6 blocks, from token",
        "ids to embedding, all in RTL: Verilator on the emitted Verilog, 8×8 PEs, M = 8, N = 2, drain 4, 16 bytes a",
        f"cycle unless said, memory latency {LATENCY}; with 2 bytes a cycle the store has twice as many words, half as",
        "wide. Cycles from the start write to done; utilisation is the",
        "multiplies that the patterns need over all multiplier slots of these cycles; *linear* the same of the linear",
        "layers, each from its execute to the next instruction's; *estimate*: how far `nmgen estimate` is off, in all",
        "and at the worst instruction; *bit-exact*: the embedding is the golden machine's.",
        "",
        "| " + " | ".join([*columns, "bit-exact"]) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    dense = {(case.config, case.lengths): one.cycles for case, one, _ in done if case.pattern == "dense"}
    for case, one, estimates in done:
        worst = max(abs(guess.cycles / cycles - 1) for guess, cycles in zip(estimates, one.taken, strict=True))
        whole = estimates[0].begin + sum(guess.cycles for guess in estimates)
        tokens = f"{len(case.lengths)} × {case.lengths[0]}" if len(case.lengths) > 1 else str(case.lengths[0])
        reference = dense.get((case.config, case.lengths))
        right = "yes" if one.right else "**no**"
        text.append(
            f"| {case.about} | {tokens} | {case.pattern} | {one.cycles:,} "
            f"| {f'{reference / one.cycles:.2f}×' if reference else '–'} | {one.utilisation:.1%} | {one.linear:.1%} "
            f"| {whole / one.cycles - 1:+.3%} ({worst:.1%}) | {one.bytes:,} | {right} |"
        )
    return "\n".join(text)


def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="bench-core", description="Whole encoders on the RTL of STA.")
    parser.add_argument("--first", type=int, metavar="N", help="only the first N rows of the table")
    parser.add_argument("--json", action="store_true", help="print the numbers, and nothing else; write no page")
    args = parser.parse_args(argv)
    done: list[Row] = []
    wanted = cases()[: args.first]
    for number, case in enumerate(wanted, start=1):
        label = f"{number}/{len(wanted)} {case.about}, {case.pattern}, {'+'.join(map(str, case.lengths))}"
        begin = time.monotonic()
        done.append((case, *measure(case, lambda text, label=label: say(f"{label}: {text}"))))
        say(f"{label}: {done[-1][1].cycles:,} cycles, {time.monotonic() - begin:.0f} s")
    if args.json:
        print(
            json.dumps(
                [
                    asdict(case) | asdict(one) | {"estimates": [guess.cycles for guess in estimates]}
                    for case, one, estimates in done
                ],
                indent=1,
            )
        )
        return 0
    replace_section(ROOT / "docs" / "results.md", "bench-core", table(done))
    print(f"{len(done)} programs: docs/results.md")
    return 0 if all(one.right for _, one, _ in done) else 1


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench-core")


if __name__ == "__main__":
    sys.exit(process(main, "bench-core"))
