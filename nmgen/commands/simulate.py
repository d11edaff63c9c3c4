"""`nmgen simulate`: a layer of an artefact on the generated Verilog, in a real simulator, against the golden model."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nmgen.arrays import read_array
from nmgen.configuration import add_configuration, add_simulation, configuration_from
from nmgen.files import written_whole
from pruning.artefact import Layer, load
from rtl.params import Config, InputError, Product, product_cycles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME = "simulate"
HELP = "Run a layer of an artefact on the generated Verilog in a simulator, and compare every result."
EXAMPLE = (
    "nmgen simulate build/minilm/2of8.safetensors --layer encoder.layer.0.intermediate.dense \\\n"
    "      --input build/minilm/activations/encoder.layer.0.intermediate.dense.npy --output build/y.npy"
)

RIGHT, MISMATCH = 0, 1
BUILDS = Path("build/simulate")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artefact", metavar="A.safetensors", type=Path, help="packed layers: nmgen pack, nmgen prune")
    parser.add_argument("--layer", metavar="NAME", required=True, help="which of its layers")
    parser.add_argument("--input", metavar="x.npy", type=Path, required=True, help="activations, int8 [tokens, K]")
    parser.add_argument(
        "--output", metavar="y.npy", type=Path, required=True, help="where the design's results go, [tokens, channels]"
    )
    parser.add_argument(
        "--rtl", metavar="DIR", type=Path, help="run the Verilog in DIR, which nmgen generate wrote, edited or not"
    )
    add_configuration(parser)
    add_simulation(parser)
    parser.add_argument("--stall", action="store_true", help="random back-pressure on every stream of the memory port")
    parser.add_argument("--waves", action="store_true", help="leave a waveform in the build folder")
    parser.add_argument(
        "--build", metavar="DIR", type=Path, default=BUILDS, help=f"where builds are kept for the next run ({BUILDS})"
    )


def run(args: argparse.Namespace) -> int:
    from sim.runner import Job, SimulationError, run_products

    layer = _layer(args.artefact, args.layer)
    x = read_array(args.input, "int8 with 2 dimensions")
    config, sources, top = _design(args)
    product = _product(config, layer, x)

    with TemporaryDirectory() as scratch, written_whole(args.output) as output:
        if sources is None:
            from nmgen.generate import generate

            design = generate(config, Path(scratch) / "verilog")
            sources, top = design.sources, design.top
        job = Job(product, x, layer.weights, layer.bias, layer.mult, layer.shift)
        try:
            with _Status(quiet=args.json) as say:
                (result,) = run_products(
                    sources,
                    top,
                    config,
                    [job],
                    simulator=args.simulator,
                    latency=args.mem_latency,
                    seed=args.seed,
                    stall=args.stall,
                    build_dir=args.build,
                    waves=args.waves,
                    strict=args.rtl is None,
                    progress=say,
                )
        except SimulationError as error:
            print(f"nmgen: {args.layer}: {error}", file=sys.stderr)
            return MISMATCH
        import numpy as np

        with output.open("wb") as stream:
            np.save(stream, result.y)

    from sim.golden import compare

    want, source = _golden(layer, x)
    comparison = compare(result.y, want)
    report = {
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
        "estimate": product_cycles(
            config, product.tokens, product.k, product.channels, layer.n, args.mem_latency, out_bits=layer.out_bits
        ),
        "utilisation": product.utilisation(result.cycles),
        "bytes_read": result.bytes_read,
        "bytes_written": result.bytes_written,
        "golden": source,
        "outputs": comparison.outputs,
        "mismatches": comparison.mismatches,
        "first_mismatch": comparison.first,
        "output": str(args.output),
    }
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        _show(report)
    if comparison.mismatches:
        print(f"nmgen: {layer.name}: {comparison}", file=sys.stderr)
    return MISMATCH if comparison.mismatches else RIGHT


def _layer(artefact: Path, name: str) -> Layer:
    layers = load(artefact)
    if name not in layers:
        known = ", ".join(list(layers)[:4]) + (", …" if len(layers) > 4 else "")
        raise InputError(f"layer {name} is not in {artefact}, which has {known}")
    return layers[name]


def _product(config: Config, layer: Layer, x: "NDArray[np.int8]") -> Product:
    if layer.m != config.m:
        raise InputError(f"layer {layer.name} is {layer.n}:{layer.m}, but the configuration has m = {config.m}: --m")
    if x.shape[1] != layer.k:
        raise InputError(f"input has K = {x.shape[1]}, must be {layer.k} as in layer {layer.name}")
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
    if args.rtl is None:
        return configuration_from(args), None, ""
    manifest = _manifest(args.rtl)
    config = Config(**manifest["parameters"])
    given = {name: getattr(args, name) for name in manifest["parameters"]}
    for name, text in given.items():
        if text is not None and text != str(manifest["parameters"][name]):
            raise InputError(f"{name} is {text}, but {args.rtl} was generated with {manifest['parameters'][name]}")
    if args.preset is not None or args.config is not None:
        asked = asdict(configuration_from(args))
        for name, value in manifest["parameters"].items():
            if asked[name] != value:
                raise InputError(f"{name} is {asked[name]}, but {args.rtl} was generated with {value}")
    sources = [args.rtl / name for name in manifest["files"] if name.endswith(".v") and "/" not in name]
    for source in sources:
        if not source.is_file():
            raise InputError(f"{source} is missing, but manifest.json names it")
    return config, sources, manifest["top"]


def _manifest(directory: Path) -> dict[str, Any]:
    path = directory / "manifest.json"
    if not path.is_file():
        raise InputError(f"{directory} holds no manifest.json: it must be a folder that nmgen generate wrote")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        Config(**manifest["parameters"])
        return {key: manifest[key] for key in ("parameters", "files", "top")}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is not a manifest that nmgen generate wrote") from None


def _golden(layer: Layer, x: "NDArray[np.int8]") -> "tuple[NDArray[np.signedinteger], str]":
    """What the layer has to give, and who says so: the integer torch layer, or numpy where torch is not installed."""
    try:
        from pruning.layer import golden
    except ModuleNotFoundError:
        from sim.golden import linear

        return linear(x, layer.weights, layer.bias, layer.mult, layer.shift, layer.out_bits), "numpy"
    return golden(layer, x), "torch"


class _Status:
    """What is going on, on stderr, where a person looks on."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, quiet=quiet or not sys.stderr.isatty())
        self._status = self._console.status("simulate")

    def __enter__(self) -> Any:
        self._status.start()
        return self._status.update

    def __exit__(self, *_: object) -> None:
        self._status.stop()


def _show(report: dict[str, Any]) -> None:
    c = report["configuration"]
    print(
        f"{report['layer']}: {report['pattern']}, {report['tokens']} tokens, "
        f"{report['k']} -> {report['channels']}, {report['out_bits']} bits, in {report['simulator']}\n"
        f"  array        {c['rows']} x {c['cols']}, N = {c['n']}, M = {c['m']}, "
        f"{c['port_bytes']} bytes a beat, memory latency {report['mem_latency']}\n"
        f"  cycles       {report['cycles']:,}\n"
        f"  utilisation  {report['utilisation']:.1%}\n"
        f"  bytes        {report['bytes_read']:,} read, {report['bytes_written']:,} written\n"
        f"  results      {report['outputs']:,}, {report['mismatches']} mismatches against {report['golden']}: "
        f"{report['output']}"
    )
