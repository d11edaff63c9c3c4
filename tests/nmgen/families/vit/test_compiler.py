"""Compiled ViTs: the machine computes what the integer ViT does, instruction after instruction."""

import re
from dataclasses import replace

import numpy as np
import pytest

from nmgen.compiler.program import Program, from_bytes
from nmgen.families.vit.compiler import compile_vit
from pruning.families.vit.calibrate import patches_of
from pruning.families.vit.integer import IntegerViT
from pruning.families.vit.shape import ViTShape
from rtl.params import InputError
from rtl.sta.params import StaConfig
from sim.golden.machine import Machine
from tests.nmgen.steps import compare_steps
from tests.pruning.vits import parameters, random_images

TINY = ViTShape(image=12, patch=4, channels=1, hidden=24, layers=2, heads=3, intermediate=40, labels=5)  # 10 tokens
COLOURS = ViTShape(image=8, patch=4, channels=3, hidden=18, layers=1, heads=2, intermediate=23, labels=0)  # 5 tokens
SMALL = StaConfig(n=2, m=8, rows=4, cols=4, drain=4, port_bytes=4, max_tokens=32, max_k=64, hidden=48, store_words=512)
WIDE = StaConfig(n=2, m=4, rows=2, cols=8, drain=8, port_bytes=16, max_tokens=40, max_k=64, hidden=48, store_words=512)
ODD = StaConfig(n=3, m=16, rows=3, cols=6, drain=4, port_bytes=2, max_tokens=32, max_k=80, hidden=41, store_words=512)


@pytest.mark.parametrize(
    ("config", "shape", "images", "pattern"),
    [
        (SMALL, TINY, 1, ""),
        (SMALL, TINY, 2, "2:8"),
        (WIDE, TINY, 3, "2:4"),
        (WIDE, COLOURS, 2, ""),
        (ODD, COLOURS, 3, "3:16"),
        (replace(SMALL, store_words=40), TINY, 2, "2:8"),  # patches in blocks, a head at a time
        (replace(SMALL, store_words=24), TINY, 2, "2:8"),  # activations in memory
        (StaConfig(), ViTShape(layers=1), 2, "2:8"),  # the benchmarks' sizes
    ],
)
def test_machine_equals_the_integer_vit(config: StaConfig, shape: ViTShape, images: int, pattern: str) -> None:
    integers = parameters(shape, pattern)
    program, model = compile_vit(integers, config, images), IntegerViT(integers)
    pictures = random_images(shape, images)
    image = program.image_of_patches(list(patches_of(shape, pictures).numpy()))
    machine = Machine(config, image, fill=np.random.default_rng(0), address=program.address)
    compare_steps(program, machine, [{step.name: step for step in model.steps(picture)} for picture in pictures])
    name = "logits" if shape.labels else "embedding"
    assert np.array_equal(program.result(name, machine.memory), model.results(pictures).numpy())


@pytest.fixture(scope="module")
def compiled() -> Program:
    return compile_vit(parameters(TINY), SMALL, 2, {"model": "tiny"})


def test_the_file_and_back(compiled: Program) -> None:
    read = from_bytes(compiled.to_bytes())
    assert (read.about, read.results, read.memory) == (compiled.about, compiled.results, compiled.memory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_k": 40}, "pixels of a patch: 48, the configuration has 40: 8 too many (max_k)"),
        ({"hidden": 10}, "hidden channels: 18, the configuration has 10: 8 too many (hidden)"),
        ({"max_tokens": 5}, "tokens of all sequences: 13, the configuration has 5: 8 too many (max_tokens)"),
    ],
)
def test_what_does_not_fit_is_told(change: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        compile_vit(parameters(COLOURS), replace(SMALL, **change), 2)


def test_patches_that_do_not_fit(compiled: Program) -> None:
    good = np.zeros((10, 16), np.int8)
    with pytest.raises(InputError, match="1 pictures, the program is compiled for 2"):
        compiled.image_of_patches([good])
    for wrong in (good[1:], good[:, 1:], good.astype(np.uint8)):
        with pytest.raises(InputError, match=re.escape(f"patches are {wrong.dtype} {list(wrong.shape)}, the program")):
            compiled.image_of_patches([good, wrong])
