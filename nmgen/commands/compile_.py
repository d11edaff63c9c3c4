"""`nmgen compile`: a model to a program of STA."""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.configuration import add_configuration, bounded, configuration_of
from rtl.params import InputError
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    from nmgen.program import Program
    from pruning.artefact import Artefact

NAME = "compile"
HELP = "Compile a model to a program that STA runs: instructions, weights and tables in one memory image."
EXAMPLE = "nmgen compile build/minilm/2of8.safetensors --seq 32 --batch 4 -o build/minilm.nmp"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL_OR_ARTEFACT", help="an artefact of nmgen prune, a Hugging Face folder, or minilm"
    )
    parser.add_argument(
        "--seq",
        metavar="TOKENS",
        help="tokens of a sequence, special ones included; of several different ones: 32,16,16. Not for a ViT",
    )
    parser.add_argument(
        "--batch",
        metavar="B",
        type=bounded("batch", 1, 4096),
        default=1,
        help="as many times these sequences, or so many pictures, in one run (1)",
    )
    parser.add_argument(
        "--calibrate",
        metavar="FILE",
        type=Path,
        help="text to calibrate a folder on (sentences of nmgen's own); a ViT needs pictures: a folder of them, an "
        ".npy array or an IDX file",
    )
    add_configuration(parser, StaConfig)
    parser.add_argument("-o", dest="out", metavar="P.nmp", type=Path, required=True, help="the program")


def run(args: argparse.Namespace) -> int:
    config = configuration_of(args, StaConfig)
    try:
        program = _compile(args, config)
    except ModuleNotFoundError as missing:
        raise InputError(f"compile needs {missing.name}, which is not installed: pip install 'nmgen[prune]'") from None
    program.save(args.out)
    if args.json:
        print(json.dumps({"file": str(args.out), **describe(program)}, indent=2))
    else:
        _show(str(args.out), program)
    return 0


def _lengths(text: str) -> list[int]:
    try:
        lengths = [int(part) for part in text.split(",")]
    except ValueError:
        lengths = [0]
    if min(lengths) < 1:
        raise InputError(f"seq is {text!r}, must be numbers of tokens of at least 1, such as 32 or 32,16")
    return lengths


def _compile(args: argparse.Namespace, config: StaConfig) -> "Program":
    from nmgen.threads import one_thread
    from nmgen.vits import is_vit

    with one_thread():
        if is_vit(args.model):
            if args.seq is not None:
                raise InputError(f"{args.model} is a ViT, whose tokens are its patches: it takes no --seq")
            return _compile_vit(args, config)
        if args.seq is None:
            raise InputError(f"{args.model} is no ViT: give --seq, the tokens of a sequence")
        return _compile_text(args, config, _lengths(args.seq) * args.batch)


def _compile_vit(args: argparse.Namespace, config: StaConfig) -> "Program":
    from nmgen.vit_compiler import compile_vit
    from nmgen.vits import artefact_of, named
    from pruning.vit import labels_of
    from pruning.vit_parameters import vit_parameters

    artefact = artefact_of(args.model, args.calibrate)
    try:
        parameters = vit_parameters(artefact)
    except InputError as error:
        raise InputError(named(args.model, error)) from None
    assert artefact.model  # vit_parameters says so otherwise
    classes = labels_of(artefact.model.config, parameters.shape.labels)
    return compile_vit(parameters, config, args.batch, {**artefact.model.about, "classes": classes})


def _compile_text(args: argparse.Namespace, config: StaConfig, lengths: list[int]) -> "Program":
    from nmgen.compiler import compile_encoder
    from pruning.integer_parameters import integer_parameters

    artefact = _artefact(args.model, args.calibrate)
    try:
        parameters = integer_parameters(artefact)
    except InputError as error:
        raise InputError(f"{args.model}: {error}") from None
    assert artefact.model  # integer_parameters says so otherwise
    program = compile_encoder(parameters, config, lengths, dict(artefact.model.about))
    return replace(program, tokenizer=artefact.model.tokenizer)


def _artefact(model: str, text: Path | None) -> "Artefact":
    from pruning.artefact import read

    if Path(model).is_file():
        if text:
            raise InputError(f"{model} is an artefact, which has its scales: --calibrate is for a folder")
        return read(model)
    from nmgen.scores import open_encoder
    from pruning.calibrate import calibrate
    from pruning.export import to_artefact
    from pruning.text import SENTENCES, gather

    encoder = open_encoder(model)
    scales = calibrate(encoder, gather([text or SENTENCES]))
    return to_artefact(encoder, {}, scales, {"model": Path(model).name, "pattern": "dense"})


def describe(program: "Program") -> dict[str, Any]:
    """A program's facts, ready for JSON."""
    return {
        "configuration": asdict(program.config),
        "instructions": len(program.names),
        "address": program.address,
        "memory_bytes": len(program.memory),
        "regions": {region.name: [region.address, region.size] for region in program.regions},
        "sequences": [asdict(place) for place in program.sequences],
        "results": [asdict(result) for result in program.results],
        "notes": list(program.notes),
        "about": dict(program.about),
    }


def _show(title: str, program: "Program") -> None:
    c, about = program.config, program.about
    lengths = [place.tokens for place in program.sequences]
    shown = f"{len(lengths)} x {lengths[0]}" if len(set(lengths)) == 1 else ", ".join(map(str, lengths))
    given = "patches" if program.takes_pictures else "ids"
    print(
        f"{title}: {len(program.names)} instructions\n"
        f"  {'pictures ' if program.takes_pictures else 'sequences'}    {shown} tokens\n"
        f"  memory       {len(program.memory):,} bytes: {given} at {program.region(given).address:#x}, "
        f"program at {program.address:#x}\n"
        f"  results      "
        + ", ".join(f"{result.name} at {result.address:#x}" for result in program.results)
        + f"\n  store        {about['store_words_used']} of {c.store_words} words a bank\n"
        f"  array        {c.rows} x {c.cols}, N = {c.n}, M = {c.m}, {c.port_bytes} bytes a beat"
    )
    for note in program.notes:
        print(f"  note: {note}")
