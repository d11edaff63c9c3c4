"""`make demo`: one layer of a real sentence encoder on one generated design, at five densities, bit for bit; the same
layer of the whole model trained to 2:8, for three minutes at most; and all six layers of that model, text to embedding,
on the accelerator of whole encoders.

The layer is 384 → 1536 of MiniLM's first feed-forward network, its operands are what it truly gets for real sentences.
"""

import json
import sys
from pathlib import Path
from textwrap import fill, indent
from typing import Any

import numpy as np

from nmgen.bench.command import bench
from nmgen.bench.demo_encoder import encoded
from nmgen.bench.demo_training import PATTERN, RECIPE, SENTENCES, layer_and_operands, trained
from nmgen.console.ending import process
from nmgen.console.files import written_whole
from nmgen.console.progress import StepProgress
from nmgen.console.tables import fitted
from nmgen.training.layers_alone import prune_layers
from nmgen.verilog.bundle import generate
from pruning.files.artefact import Layer, load
from rtl.params import Config
from rtl.product import Product
from rtl.sta.params import StaConfig
from sim.bench.runner import Job, Result, run_products
from sim.golden.layer import compare

OUT = Path("build/demo")
LAYER = "encoder.layer.0.intermediate.dense"
CONFIG = Config(n=2, m=8, rows=8, cols=8, port_bytes=16)
STA = StaConfig(n=2, m=8, rows=8, cols=8, drain=4, port_bytes=16)
TOKENS = 32
PATTERNS = ("1:8", "2:8", "3:8", "4:8", "8:8")
MEM_LATENCY = 30


def main() -> int:
    return bench(demo, "demo")


def demo() -> int:
    """Prune, generate, simulate, compare; a table, OUT/report.json, OUT/demo.png. 1 where anything differs."""
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    console.print(f"prune      {LAYER} of MiniLM to {', '.join(PATTERNS[:-1])}, and dense, int8")
    pruned = prune_layers("minilm", [_pattern(p) for p in PATTERNS], OUT / "layer", layers=LAYER, tokens=TOKENS)
    x = np.load(OUT / "layer" / pruned["activations"][LAYER])
    layers = [load(OUT / "layer" / artefact["file"])[LAYER] for artefact in pruned["artefacts"]]

    console.print(
        f"generate   {CONFIG.rows} x {CONFIG.cols} processing elements of {CONFIG.n} multipliers, M = {CONFIG.m}"
    )
    design = generate(CONFIG, OUT / "verilog")

    console.print(
        f"train      all 36 layers to {PATTERN}, {RECIPE.steps} steps on {SENTENCES:,} sentences written here"
    )
    artefact, facts = trained(OUT, StepProgress())
    console.print(
        f"           cosine to the dense model {facts['cosine']:.3f} in int8, untrained {facts['one_shot_cosine']:.3f} "
        f"in float: {facts['sentences']} other sentences"
    )
    trained_layer, trained_x, trained_error = layer_and_operands(artefact, LAYER, TOKENS)

    with console.status("simulate") as status:
        results = run_products(
            design.sources,
            design.top,
            CONFIG,
            [*(_job(layer, x) for layer in layers), _job(trained_layer, trained_x)],
            simulator="verilator",
            latency=MEM_LATENCY,
            seed=0,
            stall=False,
            build_dir=OUT / "simulation",
            progress=lambda text: status.update(f"simulate   {text}"),
        )
    console.print("simulate   the generated Verilog in Verilator, one build for all densities")

    errors = [artefact["layers"][0]["error"] for artefact in pruned["artefacts"]]
    runs = [_run(layer, x, result, error) for layer, result, error in zip(layers, results[:-1], errors, strict=True)]
    last = _run(trained_layer, trained_x, results[-1], trained_error) | facts
    for run in (*runs, last):
        run["speed_up"] = runs[-1]["cycles"] / run["cycles"]
    with written_whole(OUT / "demo.png") as file:
        draw(runs, file)
    console.print(_table(runs, console.width))
    console.print(
        f"the trained {PATTERN} layer: {last['outputs']:,} results, {last['mismatches']} mismatches, "
        f"{last['cycles']:,} cycles, error {last['error_to_float']:.1%} to the same layer in float"
    )
    whole = _encoder(artefact, console)
    with written_whole(OUT / "report.json") as file:
        report = _report(runs) | {"trained": last, "encoder": whole}
        file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    console.print(f"{OUT}/report.json  {OUT}/demo.png  {OUT}/timeline.png  {OUT}/verilog/  {OUT}/sta/")

    wrong = sum(run["mismatches"] for run in (*runs, last))
    if wrong:
        console.print(f"{wrong} results differ from the golden model")
    return 1 if wrong or whole["wrong"] else 0


def _encoder(artefact: Path, console: Any) -> dict[str, Any]:
    """The trained model, text to embedding: facts, and what is to be said of them."""
    from pruning.data.text import read_sentences

    with console.status("encode") as status:
        facts = encoded(
            artefact,
            OUT,
            STA,
            TOKENS,
            read_sentences(),
            latency=MEM_LATENCY,
            build_dir=OUT / "simulation",
            progress=lambda text: status.update(f"encode     {text}"),
        )
    console.print(
        f"encode     all six layers at {PATTERN}, a program of {facts['instructions']} instructions, "
        f"{TOKENS} tokens:\n{indent(fill(facts['text'], 98), 11 * ' ')}"
    )
    for line in facts["wrong"]:
        console.print(f"           {line}")
    if "cycles" in facts:
        console.print(
            f"           {facts['cycles']:,} cycles, utilisation {facts['utilisation']:.1%}, "
            f"cosine to the float model {facts['cosine']:.4f}"
        )
    if not facts["wrong"]:
        console.print(f"           {facts['values']:,} values that the instructions left behind, every bit right")
    return facts


def _pattern(text: str) -> tuple[int, int]:
    n, m = text.split(":")
    return int(n), int(m)


def _job(layer: Layer, x: np.ndarray) -> Job:
    product = Product(
        config=CONFIG, tokens=len(x), k=layer.k, channels=layer.channels, pattern_n=layer.n, out_bits=layer.out_bits
    )
    return Job(product, x, layer.weights, layer.bias, layer.mult, layer.shift)


def _run(layer: Layer, x: np.ndarray, result: Result, error: float) -> dict[str, Any]:
    """One line of the report: the design's results against the integer torch layer, and what they cost."""
    from pruning.integers.layer import golden

    comparison = compare(result.y, golden(layer, x))
    if comparison.mismatches:
        print(f"demo: {layer.n}:{layer.m}: {comparison}", file=sys.stderr)
    product = _job(layer, x).product
    return {
        "pattern": "dense" if layer.n == layer.m else f"{layer.n}:{layer.m}",
        "tokens": product.tokens,
        "k": product.k,
        "channels": product.channels,
        "outputs": result.y.size,
        "mismatches": comparison.mismatches,
        "cycles": result.cycles,
        "utilisation": product.utilisation(result.cycles),
        "bytes": result.bytes_read + result.bytes_written,
        "bytes_read": result.bytes_read,
        "bytes_written": result.bytes_written,
        "error_to_float": error,
    }


def _report(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "model": "all-MiniLM-L6-v2",
        "layer": LAYER,
        "rows": CONFIG.rows,
        "cols": CONFIG.cols,
        "n": CONFIG.n,
        "m": CONFIG.m,
        "port_bytes": CONFIG.port_bytes,
        "mem_latency": MEM_LATENCY,
        "runs": runs,
    }


def _table(runs: list[dict[str, Any]], width: int) -> Any:
    headings = ("pattern", "results", "mismatches", "cycles", "utilisation", "speed-up", "bytes", "error")
    rows = [
        (
            run["pattern"],
            f"{run['outputs']:,}",
            str(run["mismatches"]),
            f"{run['cycles']:,}",
            f"{run['utilisation']:.1%}",
            f"{run['speed_up']:.2f}x",
            f"{run['bytes']:,}",
            f"{run['error_to_float']:.1%}",
        )
        for run in runs
    ]
    caption = (
        "utilisation: multiplies that the pattern needs, over multiplier slots from start to last write\n"
        "error: of the int8 layer's results against the dense float layer, root mean square; one-shot, not trained"
    )
    return fitted(width, headings, rows, caption=caption)


def draw(runs: list[dict[str, Any]], file: Path) -> None:
    """The picture: cycles with the speed-up over dense, and utilisation, a bar a density."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [run["pattern"] for run in runs]
    blue, grey = "#2f6db5", "#b9c3cf"
    colours = [grey if run["pattern"] == "dense" else blue for run in runs]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.9), width_ratios=(3, 2), layout="constrained")

    bars = left.barh(names, [run["cycles"] / 1000 for run in runs], color=colours)
    left.bar_label(bars, [f"{run['cycles'] / 1000:.1f} k   {run['speed_up']:.2f}×" for run in runs], padding=5)
    left.set_title("cycles, and speed-up over dense", loc="left")
    left.set_xlim(0, 1.28 * max(run["cycles"] for run in runs) / 1000)
    left.set_xlabel("thousand cycles, from the start to the last write")

    bars = right.barh(names, [100 * run["utilisation"] for run in runs], color=colours)
    right.bar_label(bars, [f"{run['utilisation']:.1%}" for run in runs], padding=5)
    right.set_title("multiplier slots in use", loc="left")
    right.set_xlim(0, 128)
    right.set_xticks(range(0, 101, 25), [f"{x} %" for x in range(0, 101, 25)])
    right.set_yticklabels([])

    for axes in (left, right):
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    wrong = sum(run["mismatches"] for run in runs)
    outputs = sum(run["outputs"] for run in runs)
    verdict = f"{outputs:,} results, {wrong} mismatches" if wrong else f"{outputs:,} results, every bit right"
    figure.suptitle(
        f"MiniLM 384 → 1536, {TOKENS} tokens, one design of {CONFIG.rows}×{CONFIG.cols} elements with N = {CONFIG.n}, "
        f"M = {CONFIG.m}: {verdict}",
        fontsize=11,
    )
    figure.savefig(file, dpi=130, format="png")
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(process(main, "demo"))
