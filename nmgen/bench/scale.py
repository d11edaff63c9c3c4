"""Large arrays, long sequences, larger models: ``make bench-scale``.

Whole encoders on the RTL, from token ids to embedding, as `make bench-core` runs them, on arrays of up to 2,048
multipliers, two at a time; what ran is kept in build/bench-core/, so a bench that was stopped goes on where it was. The
curves are of the estimate alone (--estimate, two minutes), and checked on the RTL at points drawn by a seed. The tables
go into docs/results.md, the plot into docs/scale.png.
"""

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from nmgen.bench.command import bench
from nmgen.bench.core import Case, Measured, parameters_of
from nmgen.bench.core_runs import run_all
from nmgen.bench.sections import replace_section
from nmgen.console.ending import process
from nmgen.console.progress import say
from nmgen.estimate.cycles import Constants, estimate, total
from rtl.sta.params import StaConfig

ROOT = Path(__file__).resolve().parents[2]
LATENCY = 30
POINTS = 10  # of the curves, on the RTL
MOST_CYCLES = 1_000_000  # of such a point
TOKENS = (16, 32, 64, 128, 256, 512)
LAYERS = (6, 12, 24)

BASE = StaConfig(max_tokens=512)
# By multipliers. Ports, drain and groups of rows grow with the array, words of the store with the port.
SIZES = {
    64: replace(BASE, rows=8, cols=4),
    128: BASE,
    256: replace(BASE, rows=16, cols=8, drain=8, groups=2),
    512: replace(BASE, rows=16, cols=16, drain=8, port_bytes=32, groups=8),
    1024: replace(BASE, rows=32, cols=16, drain=8, port_bytes=32, groups=8),
    2048: replace(BASE, rows=32, cols=32, drain=8, port_bytes=64, groups=8),
}
SPARSER = replace(BASE, rows=16, cols=16, n=4, m=16, drain=8, port_bytes=64, groups=8)  # 2:8 is 4:16


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run, and the share of slots that it is to fill."""

    case: Case
    aim: float


def rows() -> list[Row]:
    """One sequence of 128 tokens; then batches, long sequences, a larger model."""

    def row(aim: float, config: StaConfig, pattern: str, *lengths: int, model: str = "minilm") -> Row:
        config = replace(config, max_tokens=max(128, sum(lengths)))
        return Row(case=Case(about="", config=config, pattern=pattern, lengths=lengths, model=model), aim=aim)

    small = replace(BASE, store_words=2048)
    base = replace(small, hidden=768, max_k=3072)
    large = replace(SIZES[2048], hidden=768, max_k=3072, store_words=1024)
    return [
        row(0.92, small, "2:8", 128),
        row(0.90, SIZES[512], "2:8", 128),
        row(0.87, SIZES[1024], "2:8", 128),
        row(0.80, SIZES[2048], "2:8", 128),
        row(0.95, SIZES[512], "dense", 128),
        row(0.93, SIZES[1024], "dense", 128),
        row(0.88, SIZES[2048], "dense", 128),
        row(0.87, SPARSER, "2:8", 128),
        row(0.85, SIZES[1024], "2:8", *[32] * 16),
        row(0.85, SIZES[1024], "2:8", 128, 32, 32, 32),
        row(0.94, replace(BASE, store_words=4096), "2:8", 512),
        row(0.88, replace(SIZES[1024], store_words=1024), "2:8", 512),
        row(0.85, replace(base, store_words=1024), "2:8", 128, model="bert-base"),
        row(0.85, large, "2:8", 512, model="bert-base"),
    ]


def _shape(config: StaConfig) -> str:
    return f"{config.rows}×{config.cols}, N = {config.n}, M = {config.m}"


def _tokens(lengths: Sequence[int]) -> str:
    """Such as 128, 16 × 32, 128 + 3 × 32."""
    counted = [(length, lengths.count(length)) for length in dict.fromkeys(lengths)]
    return " + ".join(f"{count} × {length}" if count > 1 else str(length) for length, count in counted)


def table(done: Sequence[tuple[Row, Measured, int]]) -> str:
    """Markdown. done : with what the estimate says"""
    columns = ["array", "drain", "groups", "port", "store", "model", "tokens", "pattern", "cycles", "slots that work"]
    columns += ["aim", "estimate", "bit-exact", "build", "cycles a second"]
    text = [
        f"`make bench-scale` writes these tables; last run on {date.today()}. Whole encoders in RTL, from token ids to",
        "embedding, Verilator on the emitted Verilog; MiniLM pruned by magnitude, BERT-base's shape with random",
        "integers. *slots that work*: the multiplies that the patterns need over all slots from start to done.",
        "*aim*: the least that is asked for. *drain*: results a cycle of a group; *groups*: of rows; *port*: bytes",
        f"a cycle, memory latency {LATENCY}; *store*: words a bank. *build*: until Verilator's program is there;",
        "*cycles a second*: of the simulation, on one core. Two runs go on at a time, on two cores.",
        "",
        "| " + " | ".join(columns) + " |",
        "|---" * len(columns) + "|",
    ]
    for row, one, estimated in done:
        case, c = row.case, row.case.config
        speed = f"{one.cycles / one.run_seconds:,.0f}" if one.run_seconds else "–"
        text.append(
            f"| {_shape(c)} | {c.drain} | {c.groups} | {c.port_bytes} | {c.store_words:,} | {case.model} "
            f"| {_tokens(case.lengths)} | {case.pattern} | {one.cycles:,} | {one.utilisation:.1%} | {row.aim:.0%} "
            f"| {estimated / one.cycles - 1:+.3%} | {'yes' if one.right else '**no**'} "
            f"| {one.build_seconds:.0f} s | {speed} |"
        )
    return "\n".join(text)


# --- curves ----------------------------------------------------------------------------------------------------------
def _estimated(config: StaConfig, tokens: int, layers: int) -> int:
    from nmgen.families.bert.compiler import compile_encoder

    case = Case(about="", config=config, pattern="2:8", lengths=(tokens,), model=f"minilm, {layers} layers")
    program = compile_encoder(parameters_of(case), config, case.lengths)
    return int(total(program, estimate(program, Constants(memory=LATENCY)))["cycles"])


def curves() -> dict[tuple[int, int, int], int]:
    """Cycles by multipliers, tokens, layers: every layer but the first takes as long as the second."""
    found = {}
    for multipliers, config in SIZES.items():
        for tokens in TOKENS:
            say(f"{multipliers} multipliers, {tokens} tokens")
            one, two = (_estimated(config, tokens, count) for count in (1, 2))
            for layers in LAYERS:
                found[multipliers, tokens, layers] = one + (layers - 1) * (two - one)
    return found


def plot(found: dict[tuple[int, int, int], int], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    for axes, layers in zip(panels, (LAYERS[0], LAYERS[-1]), strict=True):
        for multipliers in SIZES:
            axes.plot(TOKENS, [found[multipliers, n, layers] for n in TOKENS], marker="o", label=f"{multipliers:,}")
        axes.set(xscale="log", yscale="log", xlabel="tokens", title=f"{layers} layers × 384, 2:8")
        axes.set_xticks(TOKENS, [str(n) for n in TOKENS])
        axes.minorticks_off()
        axes.grid(visible=True, alpha=0.3)
    panels[0].set_ylabel("cycles")
    panels[0].legend(title="multipliers")
    figure.savefig(path, dpi=120, metadata={"Software": None})
    pyplot.close(figure)


def points(found: dict[tuple[int, int, int], int], seed: int) -> list[Case]:
    """Of those that a simulation runs in minutes."""
    within = [point for point, cycles in found.items() if cycles <= MOST_CYCLES]
    drawn = random.Random(seed).sample(within, min(POINTS, len(within)))
    return [
        Case(about="", config=SIZES[size], pattern="2:8", lengths=(tokens,), model=f"minilm, {layers} layers")
        for size, tokens, layers in drawn
    ]


def curve_table(found: dict[tuple[int, int, int], int]) -> str:
    text = [
        f"`make bench-scale` writes this table and the plot; last run on {date.today()}. Cycles of MiniLM's shape",
        "with 6, 12 and 24 layers, 2:8, by the estimate (`python -m nmgen.bench.scale --estimate`). The array grows as",
        "in the table of runs, 64 multipliers are 8×4 elements and 256 are 16×8 with two groups; all have room for",
        f"{max(TOKENS)} tokens, so their programs are other ones than those of the runs with room for 128.",
        "",
        "![Cycles against tokens, for 64 to 2,048 multipliers](scale.png)",
        "",
        "| multipliers | tokens | " + " | ".join(f"{layers} layers" for layers in LAYERS) + " |",
        "|---" * (2 + len(LAYERS)) + "|",
    ]
    for multipliers in SIZES:
        for tokens in TOKENS:
            cycles = [f"{found[multipliers, tokens, layers]:,}" for layers in LAYERS]
            text.append(f"| {multipliers:,} | {tokens} | " + " | ".join(cycles) + " |")
    return "\n".join(text)


def point_table(checked: Sequence[tuple[Case, Measured, int]], seed: int) -> str:
    exact = sum(one.cycles == wanted and one.right for _, one, wanted in checked)
    text = [
        f"`make bench-scale` writes this table; last run on {date.today()}. The same on the RTL, at points drawn by",
        f"seed {seed}: {exact} of {len(checked)} as estimated, and bit-exact.",
        "",
        "| multipliers | tokens | model | cycles | estimate |",
        "|---|---|---|---|---|",
    ]
    for case, one, wanted in checked:
        c = case.config
        size = c.rows * c.cols * c.n
        text.append(f"| {size:,} | {case.lengths[0]} | {case.model} | {one.cycles:,} | {wanted:,} |")
    return "\n".join(text)


def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="bench-scale", description="Large arrays, long sequences, larger models.")
    parser.add_argument("--estimate", action="store_true", help="the curves alone: no simulation")
    parser.add_argument("--first", type=int, metavar="N", help="only the first N rows of the table, and no points")
    parser.add_argument("--seed", type=int, default=1, help="of the points on the curves (1)")
    args = parser.parse_args(argv)
    page = ROOT / "docs" / "results.md"
    right = True
    if not args.estimate:
        wanted = rows()[: args.first]
        measured = _measured([row.case for row in wanted])
        right = all(one.right for one, _ in measured)
        replace_section(page, "bench-scale", table([(row, *one) for row, one in zip(wanted, measured, strict=True)]))
    if args.first:
        return 0 if right else 1
    found = curves()
    plot(found, ROOT / "docs" / "scale.png")
    replace_section(page, "bench-scale-curves", curve_table(found))
    if not args.estimate:
        drawn = points(found, args.seed)
        checked = [(case, *one) for case, one in zip(drawn, _measured(drawn), strict=True)]
        right &= all(one.right for _, one, _ in checked)
        replace_section(page, "bench-scale-points", point_table(checked, args.seed))
    print("docs/results.md, docs/scale.png")
    return 0 if right else 1


def _measured(cases: Sequence[Case]) -> list[tuple[Measured, int]]:
    """What each took on the RTL, and the cycles of its estimate."""
    begin = time.monotonic()
    labels = [
        f"{number}/{len(cases)} {case.model} at {case.pattern}, {_tokens(case.lengths)} tokens, {_shape(case.config)}"
        for number, case in enumerate(cases, start=1)
    ]
    found = {}
    # The last row takes as long as half of the others: it goes first.
    for label, ran in run_all(dict(reversed(list(zip(labels, cases, strict=True))))):
        found[label] = ran.measured, ran.estimated
        took = f"{ran.measured.cycles:,} cycles, {ran.measured.utilisation:.1%}"
        say(f"{label}: {took}; {len(found)} of {len(cases)} in {time.monotonic() - begin:.0f} s")
    return [found[label] for label in labels]


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench-scale")


if __name__ == "__main__":
    sys.exit(process(main, "bench-scale"))
