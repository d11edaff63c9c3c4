"""`nmgen generate`: Verilog of an accelerator of any kind, and what a design needs to take it in."""

import argparse
import json
import shlex
import sys
from pathlib import Path

from nmgen.console.options import KINDS, add_configuration, configuration_of_kind
from rtl.sta.params import StaConfig

NAME = "generate"
HELP = "Write Verilog of an accelerator, with a manifest, file lists, a C header and a testbench."
EXAMPLE = "nmgen generate --n 3 --m 16 --rows 3 --cols 5 -o build/odd"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kind",
        choices=KINDS,
        default="engine",
        help="engine: one matrix product at a time; sta: whole encoders, with --hidden and --store-words; "
        "axi-sta: the same behind AXI4 and AXI4-Lite (engine)",
    )
    add_configuration(parser, StaConfig)
    parser.add_argument("--prefix", default="nmgen", help="begins the name of every module and file (nmgen)")
    parser.add_argument("-o", dest="directory", metavar="DIR", type=Path, required=True, help="where the files go")


def run(args: argparse.Namespace) -> int:
    from nmgen.verilog.bundle import MODELS, TESTBENCH, generate, lint_command, simulation_command, unknown_device
    from nmgen.verilog.kinds import STA, kind_of

    config = configuration_of_kind(args)
    generated = generate(
        config, args.directory, args.prefix, lambda text: print(f"{text} ...", file=sys.stderr), args.kind
    )
    if unknown := unknown_device(config):
        print(f"nmgen: {unknown}", file=sys.stderr)
    manifest = generated.manifest
    models = bool(manifest["primitives"])
    if args.json:
        print(json.dumps({"directory": str(generated.directory), **manifest}, indent=2))
        return 0
    print(f"{generated.directory}: {generated.top} in {len(generated.sources)} Verilog files")
    print(f"  {manifest['multipliers']} multipliers, {manifest['register_bits']} bits of registers, ", end="")
    print(f"{manifest['memory_bits']} bits of memory in {len(manifest['memories'])} kinds of memories")
    folder = shlex.quote(str(generated.directory))
    kind = kind_of(config, args.kind)
    if TESTBENCH in {Path(name).parts[0] for name in manifest["files"] if name != MODELS}:
        print(f"to test it with Icarus:\n  cd {folder} && {simulation_command(args.prefix, models)}")
    else:
        print("  without a testbench: the store has no room for one's program")
    if kind is STA:
        print(f"to run a program on it:\n  nmgen simulate P.nmp --text ... --rtl {folder}")
    print(f"to check it with Verilator:\n  cd {folder} && {lint_command(args.prefix, models)}")
    return 0
