"""A program of STA of a model in any form: an artefact, a Hugging Face folder, minilm. compile and estimate take it."""

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nmgen.console.options import add_configuration, bounded, configuration_of
from nmgen.console.progress import Say
from rtl.params import InputError
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    from nmgen.compiler.program import Program
    from pruning.files.artefact import Artefact


# What add_model_arguments adds beside the configuration, with the values of flags that are not given.
MODEL_FLAGS = {"seq": None, "batch": 1, "pattern": None, "calibrate": None, "preset": None, "config": None}


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how a model is made a program: the lengths, the pattern, the calibration and the configuration."""
    parser.add_argument(
        "--seq",
        metavar="TOKENS",
        help="tokens of a sequence, special ones included; of several different ones: 32,16,16. Not for a ViT",
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
    parser.add_argument(
        "--calibrate",
        metavar="FILE",
        type=Path,
        help="text to calibrate a folder on (sentences of nmgen's own); a ViT needs pictures: a folder of them, an "
        ".npy array or an IDX file",
    )
    add_configuration(parser, StaConfig)


def given(args: argparse.Namespace) -> list[str]:
    """The flags of add_model_arguments that a command line has."""
    usual = dict.fromkeys((field.name for field in fields(StaConfig)), None) | MODEL_FLAGS
    return ["--" + name.replace("_", "-") for name, value in usual.items() if getattr(args, name) != value]


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
        lengths = lengths_of(args.model, args.seq)
        artefact, warning = artefact_of(args.model, args.pattern, args.calibrate, say)
        say("placing the program")
        return compiled(artefact, args.model, config, lengths, args.batch), warning


def lengths_of(model: str, seq: str | None) -> list[int]:
    """The tokens of each sequence that a flag says; [] for a ViT, which has its own.

    Raises
    ------
    InputError : no numbers; a flag for a ViT, or none for another model.
    """
    from nmgen.models.vits import is_vit
    from pruning.families.bert.folder import check_folder

    if is_vit(model):
        if seq is not None:
            raise InputError(f"{model} is a ViT, whose tokens are its patches: it takes no --seq")
        return []
    if seq is None:
        if model != "minilm" and not Path(model).is_file():
            check_folder(model)  # that it is there comes before what it is
        raise InputError(f"{model} is no ViT: give --seq, the tokens of a sequence")
    try:
        lengths = [int(part) for part in seq.split(",")]
    except ValueError:
        lengths = [0]
    if min(lengths) < 1:
        raise InputError(f"seq is {seq!r}, must be numbers of tokens of at least 1, such as 32 or 32,16")
    return lengths


def artefact_of(model: str, pattern: str | None, calibrate: Path | None, say: Say) -> "tuple[Artefact, str]":
    """(artefact, warning) in a file, or of a folder: calibrated and, with a pattern, pruned in one shot."""
    if Path(model).is_file():
        from pruning.files.artefact import read

        for flag, value, has in (("--calibrate", calibrate, "its scales"), ("--pattern", pattern, "its patterns")):
            if value is not None:
                raise InputError(f"{model} is an artefact, which has {has}: {flag} is for a folder")
        return read(model), ""
    from nmgen.models.dense import dense_artefact, open_dense

    say("reading the model")
    dense = open_dense(model, [calibrate] if calibrate else [])
    say("calibrating and quantising")
    return dense_artefact(dense, pattern), dense.unfit


def compiled(artefact: "Artefact", model: str, config: StaConfig, lengths: list[int], batch: int) -> "Program":
    """The program of an artefact for so many times these sequences, or for so many pictures.

    model : what messages call it
    """
    from nmgen.compiler.encoder import compile_encoder
    from nmgen.compiler.vit import compile_vit
    from nmgen.models.vits import named
    from pruning.families.bert.parameters import integer_parameters
    from pruning.families.vit.model import labels_of
    from pruning.families.vit.parameters import vit_parameters

    try:
        if artefact.is_vit:
            vit = vit_parameters(artefact)
        else:
            text = integer_parameters(artefact)
    except InputError as error:
        raise InputError(named(model, error)) from None
    assert artefact.model  # both say so otherwise
    if artefact.is_vit:
        classes = labels_of(artefact.model.config, vit.shape.labels)
        return compile_vit(vit, config, batch, {**artefact.model.about, "classes": classes})
    program = compile_encoder(text, config, lengths * batch, dict(artefact.model.about))
    return replace(program, tokenizer=artefact.model.tokenizer)


def warn(line: str) -> None:
    """A line on stderr that is no error; nothing for ''. Commands call it at their end, when all else went well, so
    that an error stays the only line."""
    if line:
        sys.stdout.flush()  # which is an error where nobody takes what was printed
        print(f"warning: {line}", file=sys.stderr)
