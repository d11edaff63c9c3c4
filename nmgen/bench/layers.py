"""Cycles and utilisation of MiniLM's linear layers, for several configurations and densities: ``make bench``.

The cycles are those of `rtl.engine.cycles`, which the tests hold equal to the RTL to the cycle. The tables go into
docs/results.md, all numbers into build/bench/cycles.json.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nmgen.bench.command import bench
from nmgen.bench.sections import replace_section
from nmgen.console.ending import process
from nmgen.console.files import written_whole
from rtl.engine.cycles import product_cycles
from rtl.params import PRESETS, Config
from rtl.product import Product

# (K, channels) of a linear layer → how many of its kind an encoder block has
LAYERS = {(384, 384): 4, (384, 1536): 1, (1536, 384): 1}
TOKENS = (32, 128)

BASE = PRESETS["base"]
CONFIGURATIONS: dict[str, Config] = {
    "base": BASE,
    "base, 8 bytes a cycle": replace(BASE, port_bytes=8),
    "base, N = 4": replace(BASE, n=4),
    "sparse": PRESETS["sparse"],
    "wide": PRESETS["wide"],
}
# Far memory is asked about once: what it costs does not depend on the configuration's lanes.
LATENCIES = {"base": (30, 100)}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One product on one configuration."""

    configuration: str
    mem_latency: int
    tokens: int
    k: int
    channels: int
    pattern: str
    cycles: int
    utilisation: float


def patterns(config: Config) -> list[int]:
    """N' of the densities M/8, M/4, M/2 of a configuration's groups, and dense."""
    return [config.m // 8, config.m // 4, config.m // 2, config.m]


def pattern_name(n: int, m: int) -> str:
    return "dense" if n == m else f"{n}:{m}"


def runs() -> Iterator[Run]:
    for name, config in CONFIGURATIONS.items():
        for mem_latency in LATENCIES.get(name, (30,)):
            for tokens in TOKENS:
                for n in patterns(config):
                    for k, channels in LAYERS:
                        product = Product(config=config, tokens=tokens, k=k, channels=channels, pattern_n=n)
                        cycles = product_cycles(config, tokens, k, channels, n, mem_latency)
                        yield Run(
                            configuration=name,
                            mem_latency=mem_latency,
                            tokens=tokens,
                            k=k,
                            channels=channels,
                            pattern=pattern_name(n, config.m),
                            cycles=cycles,
                            utilisation=product.utilisation(cycles),
                        )


def tables(done: Sequence[Run]) -> str:
    """Markdown: one table a configuration, latency and number of tokens."""
    text = [
        "`make bench` writes these tables. A cell is the cycles of one product and the share of multiplier slots that",
        "do work which the pattern needs; *block* is the six linear layers of one encoder block (four of 384→384), and",
        "the last column its speed-up over dense on the same hardware.",
    ]
    groups = dict.fromkeys((run.configuration, run.mem_latency, run.tokens) for run in done)
    for name, mem_latency, tokens in groups:
        c = CONFIGURATIONS[name]
        text += [
            "",
            f"**{name}** — {c.rows}×{c.cols} PEs, N = {c.n}, M = {c.m}, {c.port_bytes} bytes a cycle; "
            f"memory latency {mem_latency}, {tokens} tokens",
            "",
            "| pattern | " + " | ".join(f"{k}→{channels}" for k, channels in LAYERS) + " | block | speed-up |",
            "|---|" + "---|" * (len(LAYERS) + 2),
        ]
        block = {}
        rows = {}
        for n in patterns(c):
            pattern = pattern_name(n, c.m)
            here = [
                run
                for run in done
                if (run.configuration, run.mem_latency, run.tokens, run.pattern) == (name, mem_latency, tokens, pattern)
            ]
            rows[pattern] = " | ".join(f"{run.cycles:,} · {run.utilisation:.1%}" for run in here)
            block[pattern] = sum(LAYERS[run.k, run.channels] * run.cycles for run in here)
        for pattern, cells in rows.items():
            text.append(f"| {pattern} | {cells} | {block[pattern]:,} | {block['dense'] / block[pattern]:.2f}× |")
    return "\n".join(text)


def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="bench", description="Cycles and utilisation of MiniLM's linear layers.")
    parser.add_argument("--json", action="store_true", help="print the numbers, and nothing else; write no file")
    args = parser.parse_args(argv)
    done = list(runs())
    numbers = json.dumps([asdict(run) for run in done], indent=1)
    if args.json:
        print(numbers)
        return 0
    root = Path(__file__).resolve().parents[2]
    with written_whole(root / "build" / "bench" / "cycles.json") as path:
        path.write_text(numbers + "\n")
    replace_section(root / "docs" / "results.md", "bench", tables(done))
    print(f"{len(done)} products: docs/results.md, build/bench/cycles.json")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench")


if __name__ == "__main__":
    sys.exit(process(main, "bench"))
