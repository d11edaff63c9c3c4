"""A program of STA of a model in any form: an artefact, a Hugging Face folder, minilm. compile and estimate take it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.console.options import add_configuration, add_density, bounded, configuration_of, given_configuration
from nmgen.console.progress import Say
from nmgen.families.known import Halves, Named, halves_named
from nmgen.models.dense import Dense, dense_artefact
from pruning.families.known import family_of_config
from rtl.params import InputError
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    from nmgen.compiler.memory_map import Memory
    from nmgen.compiler.program import Program
    from pruning.files.artefact import Artefact


# What add_model_arguments adds beside the configuration, with the values of flags that are not given.
MODEL_FLAGS = {
    "seq": None,
    "lengths": None,
    "batch": 1,
    "pattern": None,
    "density": None,
    "elastic": False,
    "calibrate": None,
    "table_bits": 16,
}


def add_model_arguments(parser: argparse.ArgumentParser, *several: str) -> None:
    """Add how a model is made a program: the lengths, the pattern, the calibration and the configuration.

    several : what --density is of
    """
    parser.add_argument(
        "--seq",
        metavar="TOKENS",
        help="tokens of a sequence, special ones included; of several different ones: 32,16,16. Not for a ViT",
    )
    parser.add_argument(
        "--lengths",
        metavar="TOKENS",
        help="instructions for each of these lengths over one copy of weights and tables: 16,32,64,128; a text runs by "
        "the shortest that it fits. Instead of --seq",
    )
    parser.add_argument(
        "--batch",
        metavar="B",
        type=bounded("batch", 1, 4096),
        default=MODEL_FLAGS["batch"],
        help="as many times these sequences, or so many pictures, in one run (1)",
    )
    parser.add_argument(
        "--pattern", metavar="N:M", help="prune a folder's linear layers to it in one shot, by magnitude (dense)"
    )
    add_density(parser, *several)
    parser.add_argument(
        "--elastic",
        action="store_true",
        help="instructions for every density of an artefact of nmgen prune --elastic, over one copy of its weights; a "
        "run chooses one by --density",
    )
    parser.add_argument(
        "--calibrate",
        metavar="FILE",
        type=Path,
        help="text to calibrate a folder on (sentences of nmgen's own); a ViT needs pictures: a folder of them, an "
        ".npy array or an IDX file",
    )
    parser.add_argument(
        "--table-bits",
        type=int,
        choices=(8, 16),
        default=MODEL_FLAGS["table_bits"],
        help="of an element of the table of words; 8, with a scale a word, take half the memory (16)",
    )
    add_configuration(parser, StaConfig)


def given(args: argparse.Namespace) -> list[str]:
    """The flags of add_model_arguments that a command line has."""
    own = ["--" + name.replace("_", "-") for name, value in MODEL_FLAGS.items() if getattr(args, name) != value]
    return own + given_configuration(args, StaConfig)


def program_of(args: argparse.Namespace, say: Say) -> "tuple[Program, str]":
    """(program, warning) of args.model by the flags of add_model_arguments.

    say : gets what is done now
    warning : one line, or ''

    Raises
    ------
    InputError, OSError : a model, text, pictures or a flag that cannot be used; what does not fit the configuration.
    """
    from nmgen.console.threads import one_thread

    config = configuration_of(args, StaConfig)
    with one_thread():
        model = Named(args.model, args.density)
        lengths, shorter = _lengths(args, model)
        if args.elastic:
            say("placing the programs")
            return _elastic(args, config, lengths, shorter), ""
        artefact, warning = artefact_of(model, args.pattern, args.calibrate, say)
        say("placing the program")
        narrow = args.table_bits == 8
        return compiled(artefact, args.model, config, lengths, args.batch, shorter, narrow=narrow), warning


def _elastic(args: argparse.Namespace, config: StaConfig, lengths: list[int], shorter: list[int]) -> "Program":
    """A program for each density of an artefact."""
    from pruning.files.artefact import read_elastic

    for flag, value in (("density", args.density), ("pattern", args.pattern), ("calibrate", args.calibrate)):
        if value is not None:
            raise InputError(f"--elastic compiles every density of an artefact as it is: it takes no --{flag}")
    store = read_elastic(args.model) if Path(args.model).is_file() else None
    if store is None:
        raise InputError(f"{args.model} is no artefact of several densities, which --elastic is for")
    densities = {}
    for name, artefact in store.densities.items():
        family = halves_named(family_of_config(artefact.whole.config, args.model))
        parameters = _parameters(family, artefact, args.model, narrow=args.table_bits == 8)
        densities[name] = parameters, artefact.whole
    return family.compiles.elastic(densities, config, lengths, args.batch, shorter)


def _lengths(args: argparse.Namespace, model: Named) -> tuple[list[int], list[int]]:
    """(tokens of the sequences, those of shorter programs) by --seq or --lengths."""
    if args.lengths is None:
        return model.family.compiles.lengths(args.model, args.seq), []
    if args.seq is not None:
        raise InputError(f"--seq is {args.seq} and --lengths {args.lengths}: give one of them")
    found = sorted(set(model.family.compiles.lengths(args.model, args.lengths, flag="lengths")), reverse=True)
    return found[:1], found[1:]


def artefact_of(model: Named, pattern: str | None, calibrate: Path | None, say: Say) -> "tuple[Artefact, str]":
    """(artefact, warning) in a file, or of a folder: calibrated and, with a pattern, pruned in one shot."""
    if model.artefact:
        for flag, value, has in (("--calibrate", calibrate, "its scales"), ("--pattern", pattern, "its patterns")):
            if value is not None:
                raise InputError(f"{model.name} is an artefact, which has {has}: {flag} is for a folder")
        return model.artefact, ""
    say("reading the model")
    dense = Dense(model.name, [calibrate] if calibrate else [])
    say("calibrating and quantising")
    return dense_artefact(dense, pattern), dense.unfit


def compiled(
    artefact: "Artefact",
    model: str,
    config: StaConfig,
    lengths: list[int],
    batch: int,
    shorter: Sequence[int] = (),
    *,
    narrow: bool = False,
    memory: "Memory | None" = None,
) -> "Program":
    """The program of an artefact for so many times these sequences, or for so many pictures.

    model : what messages call it
    narrow : its table of words is in 8 bits
    shorter, memory : see `Family.program`
    """
    whole = artefact.whole
    family = halves_named(family_of_config(whole.config, model))
    parameters = _parameters(family, artefact, model, narrow=narrow)
    return family.compiles.program(parameters, whole, config, lengths, batch, shorter, memory)


def _parameters(family: Halves, artefact: "Artefact", model: str, *, narrow: bool) -> Any:
    """The integers of an artefact; messages begin with what they call it."""
    try:
        parameters = family.prunes.parameters(artefact)
        return family.compiles.narrowed(parameters) if narrow else parameters
    except InputError as error:
        raise InputError(f"{model}: {error}") from None


def warn(line: str) -> None:
    """A line on stderr that is no error; nothing for ''. Commands call it at their end, when all else went well, so
    that an error stays the only line."""
    if line:
        sys.stdout.flush()  # which is an error where nobody takes what was printed
        print(f"warning: {line}", file=sys.stderr)
