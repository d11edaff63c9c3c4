"""Pictures for a program in a simulation, and what the float model gives of them."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from nmgen.families.interface import Given
from nmgen.families.vit.pictures import fitted, pictures_for
from rtl.params import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nmgen.compiler.program import Program
    from pruning.families.vit.model import ViT


def given(args: argparse.Namespace, program: "Program", _say: Callable[[str], None]) -> Given:
    for name in ("text", "ids"):
        if getattr(args, name) is not None:
            raise InputError(f"{args.file} is a program for pictures: it takes no --{name}")
    if args.image is None:
        raise InputError(f"{args.file} is a program for pictures: give --image (see nmgen simulate --help)")
    pictures, names = pictures_for(program, args.image)
    return Given(
        name=args.file,
        program=program,
        memory=program.image_of_patches(fitted(program, pictures)),
        inputs=pictures,
        count=len(names),
        facts={"pictures": names},
        result=program.results[0].name,
    )


def reference(name: str, model: "ViT", given: Given) -> "NDArray[np.float32]":
    import torch

    about = given.program.about
    for key in ("channels", "image"):
        if (theirs := getattr(model.shape, key)) != about[key]:
            raise InputError(f"{name} has {key} = {theirs}, {given.name} {about[key]}")
    found = model.logits(torch.from_numpy(given.inputs))
    return (found if model.shape.labels else torch.nn.functional.normalize(found, dim=1)).numpy()
