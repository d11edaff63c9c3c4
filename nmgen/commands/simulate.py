"""`nmgen simulate`: a program, or a layer of an artefact, on the generated Verilog, against the golden model.

The kind of the file, read from it, says which: `simulate_program` has programs, the rest of this file layers.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.commands import simulate_program
from nmgen.console.arrays import read_array
from nmgen.console.files import check_writable, written_whole
from nmgen.console.options import (
    ELASTIC_ARTEFACT,
    ELASTIC_PROGRAM,
    KINDS,
    add_configuration,
    add_density,
    add_html,
    add_simulation,
    configuration_from,
)
from nmgen.console.progress import stages
from nmgen.page.document import facts_page, write_page
from pruning.files.artefact import Layer, read
from pruning.files.reading import read_json, string
from rtl.engine.cycles import product_cycles
from rtl.params import Config, InputError
from rtl.product import Product
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sim.bench.runner import Result

NAME = "simulate"
HELP = "Run a program, or a layer of an artefact, on the generated Verilog in a simulator, and compare every result."
EXAMPLE = (
    'nmgen simulate build/minilm.nmp --text "A fox crossed the river." --reference minilm --check-each\n'
    "  nmgen simulate build/vit.nmp --image ankle-boot.png --reference build/vit\n"
    "  nmgen simulate build/layers/2of8.safetensors --layer encoder.layer.0.intermediate.dense \\\n"
    "      --input build/layers/activations/encoder.layer.0.intermediate.dense.npy --output build/y.npy"
)

RIGHT, MISMATCH = 0, 1
BUILDS = Path("build/simulate")


# What belongs to one kind of file alone: attribute of the arguments, flag.
OF_LAYERS = ("layer", "input", "waves")
OF_PROGRAMS = ("text", "ids", "image", "reference", "check_each", "timeline")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="P.nmp|A.safetensors",
        type=Path,
        help="a program of nmgen compile, or packed layers of nmgen pack and nmgen prune",
    )
    programs = parser.add_argument_group("of a program")
    what = programs.add_mutually_exclusive_group()
    what.add_argument("--text", metavar="TEXT", nargs="+", help="a text for each of its sequences")
    what.add_argument("--ids", metavar="FILE.json", type=Path, help="token ids for each: [[101, 7592, 102], ...]")
    what.add_argument(
        "--image",
        metavar="FILE",
        type=Path,
        nargs="+",
        help="a picture for each sequence: PNG, PGM, .npy, IDX",
    )
    programs.add_argument(
        "--reference", metavar="MODEL", help="float model to compare with: an artefact, a folder, or minilm"
    )
    programs.add_argument("--check-each", action="store_true", help="compare what every instruction leaves behind")
    programs.add_argument("--timeline", metavar="FILE.png", type=Path, help="where to draw which instruction ran when")
    add_density(parser, ELASTIC_ARTEFACT, ELASTIC_PROGRAM)
    layers = parser.add_argument_group("of an artefact")
    layers.add_argument("--layer", metavar="NAME", help="which of its layers")
    layers.add_argument("--input", metavar="x.npy", type=Path, help="activations, int8 [tokens, K]")
    layers.add_argument("--waves", metavar="FILE", type=Path, help="leave a waveform: VCD of Verilator, FST of Icarus")
    parser.add_argument(
        "--output",
        metavar="y.npy",
        type=Path,
        help="where results go: a layer's, [tokens, channels], which has to be given; a program's embeddings, float of "
        "length 1, or logits",
    )
    parser.add_argument(
        "--rtl", metavar="DIR", type=Path, help="run the Verilog in DIR, which nmgen generate wrote, edited or not"
    )
    add_html(parser)
    add_configuration(parser, StaConfig)
    add_simulation(parser)
    parser.add_argument("--stall", action="store_true", help="random back-pressure on every stream of the memory port")
    parser.add_argument(
        "--build", metavar="DIR", type=Path, default=BUILDS, help=f"where builds are kept for the next run ({BUILDS})"
    )


def run(args: argparse.Namespace) -> int:
    from nmgen.compiler.program import is_program

    program = is_program(args.file)
    for name in OF_LAYERS if program else OF_PROGRAMS:
        if getattr(args, name):
            what = "a program" if program else "no program"
            raise InputError(f"{args.file} is {what}: it takes no --{name.replace('_', '-')}")
    for path in (args.output, args.html, args.waves, args.timeline):
        if path:
            check_writable(path)  # before anything takes time
    if program:
        return simulate_program.run(args, _manifest(args.rtl) if args.rtl else None)
    for name in ("layer", "input", "output"):
        if getattr(args, name) is None:
            raise InputError(f"{args.file} is no program: a layer of it needs --{name} (see nmgen simulate --help)")
    return _run_layer(args)


def _run_layer(args: argparse.Namespace) -> int:
    from sim.bench.runner import SimulationError, check_simulator

    layer = _layer(args.file, args.layer, args.density)
    x = read_array(args.input, "int8 with 2 dimensions")
    config, sources, top = _design(args)
    product = _product(config, layer, x)

    check_simulator(args.simulator)  # before anything takes time
    try:
        result = _simulated(args, product, layer, x, sources, top)
    except SimulationError as error:
        print(f"nmgen: {layer.name}: {error}", file=sys.stderr)
        return MISMATCH
    report = _report(args, product, layer, x, result)
    if args.html:
        write_page(args.html, facts_page(f"{report['layer']} on the Verilog", _facts(report), notes=report["wrong"]))
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        _show(report)
    for message in report["wrong"]:
        print(f"nmgen: {layer.name}: {message}", file=sys.stderr)
    return MISMATCH if report["wrong"] else RIGHT


def _simulated(
    args: argparse.Namespace,
    product: Product,
    layer: Layer,
    x: "NDArray[np.int8]",
    sources: list[Path] | None,
    top: str,
) -> "Result":
    """Run a product on a design, None: one that is generated here, and write its results to args.output."""
    import numpy as np

    from nmgen.verilog.kept import kept
    from sim.bench.runner import Job, run_products

    with written_whole(args.output) as output:
        with stages() as say:
            if sources is None:
                say("Verilog")
                design = kept(product.config, args.build)
                sources, top = design.sources, design.top
            (result,) = run_products(
                sources,
                top,
                product.config,
                [Job(product, x, layer.weights, layer.bias, layer.mult, layer.shift)],
                simulator=args.simulator,
                latency=args.mem_latency,
                seed=args.seed,
                stall=args.stall,
                build_dir=args.build,
                waves=args.waves,
                strict=args.rtl is None,
                progress=say,
            )
        with output.open("wb") as stream:
            np.save(stream, result.y)
    return result


def _report(
    args: argparse.Namespace, product: Product, layer: Layer, x: "NDArray[np.int8]", result: "Result"
) -> dict[str, Any]:
    """Everything about a run, ready for JSON; under "wrong" a line for each thing that is."""
    from sim.golden.layer import compare

    with stages() as say:
        say("golden layer")
        want, source = _golden(layer, x)
    comparison = compare(result.y, want)
    wrong = [str(comparison)] if comparison.mismatches else []
    if result.bytes_written != product.bytes_written:
        wrong.append(f"{result.bytes_written} bytes of results were written, must be {product.bytes_written}")
    if result.cycles != result.cycles_measured:
        wrong.append(f"the design counted {result.cycles} cycles, it took {result.cycles_measured}")
    config, sizes = product.config, (product.tokens, product.k, product.channels)
    return {
        "layer": layer.name,
        "pattern": f"{layer.n}:{layer.m}",
        "tokens": product.tokens,
        "k": product.k,
        "channels": product.channels,
        "out_bits": product.out_bits,
        "configuration": asdict(config),
        "simulator": args.simulator,
        "mem_latency": args.mem_latency,
        "seed": args.seed,
        "stall": args.stall,
        "cycles": result.cycles,
        "estimate": product_cycles(config, *sizes, layer.n, args.mem_latency, out_bits=layer.out_bits),
        "utilisation": product.utilisation(result.cycles_measured),
        "bytes_read": result.bytes_read,
        "bytes_written": result.bytes_written,
        "golden": source,
        "outputs": comparison.outputs,
        "mismatches": comparison.mismatches,
        "first_mismatch": comparison.first,
        "wrong": wrong,
        "output": str(args.output),
    }


def _layer(artefact: Path, name: str, density: str | None) -> Layer:
    layers = read(artefact, density).layers
    if name not in layers:
        known = ", ".join(list(layers)[:4]) + (", …" if len(layers) > 4 else "")
        raise InputError(f"layer {name} is not in {artefact}, which has {known}")
    return layers[name]


def _product(config: Config, layer: Layer, x: "NDArray[np.int8]") -> Product:
    if layer.m != config.m:
        raise InputError(
            f"layer {layer.name} is {layer.n}:{layer.m}, but the configuration has m = {config.m}; give --m {layer.m}"
        )
    if x.shape[1] != layer.k:
        raise InputError(f"input has K = {x.shape[1]}, must be {layer.k} as in layer {layer.name}")
    if len(x) > config.max_tokens:
        raise InputError(f"input has {len(x)} tokens, must be at most max_tokens = {config.max_tokens}")
    if layer.k > config.max_groups * config.m:
        raise InputError(f"layer {layer.name} has K = {layer.k}, must be at most max_k = {config.max_k}")
    return Product(
        config=config,
        tokens=x.shape[0],
        k=layer.k,
        channels=layer.channels,
        pattern_n=layer.n,
        out_bits=layer.out_bits,
    )


def _design(args: argparse.Namespace) -> tuple[Config, list[Path] | None, str]:
    """Configuration, Verilog files (None where they are to be generated) and top module."""
    own = KINDS["engine"].__dataclass_fields__
    for name in StaConfig.__dataclass_fields__:
        if name not in own and getattr(args, name) is not None:
            raise InputError(f"{args.file} is no program: it takes no --{name.replace('_', '-')}")
    if args.rtl is None:
        return configuration_from(args), None, ""
    manifest = _manifest(args.rtl)
    if manifest["kind"] != "engine":
        raise InputError(f"{args.rtl} holds an accelerator of kind {manifest['kind']}, a layer needs kind engine")
    config = Config(**manifest["parameters"])
    given = {name: getattr(args, name) for name in manifest["parameters"]}
    for name, text in given.items():
        if text is not None and text != str(manifest["parameters"][name]):
            raise InputError(
                f"{name} is {text}, but {args.rtl} was generated with {name} = {manifest['parameters'][name]}"
            )
    if args.preset is not None or args.config is not None:
        asked = asdict(configuration_from(args))
        for name, value in manifest["parameters"].items():
            if asked[name] != value:
                raise InputError(f"{name} is {asked[name]}, but {args.rtl} was generated with {name} = {value}")
    return config, manifest["sources"], manifest["top"]


def _manifest(directory: Path) -> dict[str, Any]:
    """kind, parameters, top and, as paths, sources of what was generated into a folder."""
    path = directory / "manifest.json"
    if not path.is_file():
        raise InputError(f"{directory} holds no manifest.json: it must be a folder that nmgen generate wrote")
    try:
        manifest: dict[str, Any] = read_json(path)
        kind = manifest.get("kind", "engine")
        KINDS[kind](**manifest["parameters"])
        found = {"kind": kind, "parameters": manifest["parameters"], "top": string("top", manifest["top"])}
        sources = [directory / name for name in manifest["files"] if name.endswith(".v") and "/" not in name]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is not a manifest that nmgen generate wrote") from None
    for source in sources:
        if not source.is_file():
            raise InputError(f"{source} is missing, but manifest.json names it")
    return {**found, "sources": sources}


def _golden(layer: Layer, x: "NDArray[np.int8]") -> "tuple[NDArray[np.signedinteger], str]":
    """What the layer has to give, and who says so: the integer torch layer, or numpy where torch is not installed."""
    try:
        from pruning.integers.layer import golden
    except ModuleNotFoundError:
        from sim.golden.layer import linear

        return linear(x, layer.weights, layer.bias, layer.mult, layer.shift, layer.out_bits), "numpy"
    return golden(layer, x), "torch"


def _show(report: dict[str, Any]) -> None:
    (name, layer), *further = _facts(report)
    print(f"{name}: {layer}")
    for name, value in further:
        print(f"  {name:<13}{value}")


def _facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values, the first of which is the layer's."""
    c = report["configuration"]
    return [
        (
            report["layer"],
            f"{report['pattern']}, {report['tokens']} tokens, "
            f"{report['k']} -> {report['channels']}, {report['out_bits']} bits, in {report['simulator']}",
        ),
        (
            "array",
            f"{c['rows']} x {c['cols']}, N = {c['n']}, M = {c['m']}, "
            f"{c['port_bytes']} bytes a beat, memory latency {report['mem_latency']}",
        ),
        ("cycles", f"{report['cycles']:,}"),
        ("utilisation", f"{report['utilisation']:.1%}"),
        ("bytes", f"{report['bytes_read']:,} read, {report['bytes_written']:,} written"),
        (
            "results",
            f"{report['outputs']:,}, {report['mismatches']} mismatches against {report['golden']}: {report['output']}",
        ),
    ]
