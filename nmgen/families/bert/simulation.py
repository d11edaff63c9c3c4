"""Sentences for a program in a simulation, and what the float model gives of them."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from nmgen.families.bert.sentences import fitted, ids_of_texts, read_ids
from nmgen.families.interface import Given
from rtl.params import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nmgen.compiler.program import Program
    from pruning.families.bert.model import Encoder


def given(args: argparse.Namespace, program: "Program", say: Callable[[str], None]) -> Given:
    if args.image:
        raise InputError(f"{args.file} is a program for text: it takes no --image")
    if args.text is None and args.ids is None:
        raise InputError(f"{args.file} is a program for text: give --text or --ids (see nmgen simulate --help)")
    say("text")
    ids = ids_of_texts(program, args.text) if args.text else read_ids(args.ids)
    program = program.fitting([len(row) for row in ids])
    shortened, padded = fitted(program, ids)
    return Given(
        name=args.file,
        program=shortened,
        memory=shortened.image(padded),
        inputs=args.text or ids,
        count=len(ids),
        facts={
            "tokens": [len(row) for row in ids],
            "tokens_compiled": [one.tokens for one in program.sequences],
        },
        result="embedding",
    )


def reference(_name: str, model: "Encoder", given: Given) -> "NDArray[np.float32]":
    import torch

    first, *_ = given.inputs
    if isinstance(first, str):
        return model.embed(given.inputs).numpy()
    over = max(map(max, given.inputs))
    if over >= model.shape.vocabulary:
        raise InputError(f"token id is {over}, the reference has {model.shape.vocabulary}")
    means = torch.stack([model.means(torch.tensor(row)) for row in given.inputs])
    return torch.nn.functional.normalize(means, dim=1).numpy()
