"""`nmgen generate`: Verilog of an accelerator, and what a design needs to take it in."""

import argparse
import json
import shlex
import sys
from pathlib import Path

from nmgen.configuration import add_configuration, configuration_from

NAME = "generate"
HELP = "Write Verilog of an accelerator, with a manifest, file lists, a C header and a testbench."
EXAMPLE = "nmgen generate --n 3 --m 16 --rows 3 --cols 5 -o build/odd"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_configuration(parser)
    parser.add_argument("--prefix", default="nmgen", help="begins the name of every module and file (nmgen)")
    parser.add_argument("-o", dest="directory", metavar="DIR", type=Path, required=True, help="where the files go")


def run(args: argparse.Namespace) -> int:
    from nmgen.generate import generate, lint_command, simulation_command

    config = configuration_from(args)
    generated = generate(config, args.directory, args.prefix, lambda text: print(f"{text} ...", file=sys.stderr))
    manifest = generated.manifest
    if args.json:
        print(json.dumps({"directory": str(generated.directory), **manifest}, indent=2))
        return 0
    print(f"{generated.directory}: {generated.top} in {len(generated.sources)} Verilog files")
    print(f"  {manifest['multipliers']} multipliers, {manifest['register_bits']} bits of registers, ", end="")
    print(f"{manifest['memory_bits']} bits of memory in {len(manifest['memories'])} kinds of memories")
    print("to test it with Icarus, and to check it with Verilator:")
    print(f"  cd {shlex.quote(str(generated.directory))} && {simulation_command(args.prefix)}")
    print(f"  cd {shlex.quote(str(generated.directory))} && {lint_command(args.prefix)}")
    return 0
