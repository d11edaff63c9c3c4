"""`nmgen pack`: an artefact from integer weights that somebody else pruned and quantised."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmgen.commands.inspect_ import show
from nmgen.console.arrays import read_array
from nmgen.console.files import written_whole
from nmgen.models.layers import describe
from pruning.files.artefact import Layer, save
from rtl.format import parse_pattern
from rtl.params import InputError

NAME = "pack"
HELP = "Pack int8 weights of pattern N:M, with bias and scale of each channel, into an artefact."
EXAMPLE = "nmgen pack W.npy --pattern 2:8 --bias b.npy --mult m.npy --shift s.npy -o A.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", metavar="W.npy", type=Path, help="int8 [channels, K], −127 … 127, as torch has them")
    parser.add_argument("--pattern", metavar="N:M", required=True, help="at most N of M consecutive weights along K")
    parser.add_argument("--bias", metavar="b.npy", type=Path, help="one a channel, int32 (0)")
    parser.add_argument("--mult", metavar="m.npy", type=Path, help="one a channel, 0 … 65535")
    parser.add_argument(
        "--shift",
        metavar="s.npy",
        type=Path,
        help="one a channel, 1 … 47; without mult and shift, y = (acc + bias) / 2^s, rounded, with the least s that no "
        "input can saturate",
    )
    parser.add_argument("--out-bits", type=int, choices=(8, 16), default=8, help="width of the results (8)")
    parser.add_argument("--name", metavar="NAME", default="layer", help="the layer's name (layer)")
    parser.add_argument("-o", dest="out", metavar="A.safetensors", type=Path, required=True, help="the artefact")


def run(args: argparse.Namespace) -> int:
    n, m = parse_pattern(args.pattern)
    if (args.mult is None) != (args.shift is None):
        raise InputError("--mult and --shift: only one is given, must be both or none")
    weights = read_array(args.weights, "int8 with 2 dimensions")
    channels = len(weights)
    bias = _of_channels(args.bias, channels) if args.bias else np.zeros(channels, np.int32)
    if args.mult:
        mult, shift = _of_channels(args.mult, channels), _of_channels(args.shift, channels)
    else:
        mult, shift = never_saturating(weights, bias, args.out_bits)
    layer = Layer.from_dense(args.name, weights, n, m, bias=bias, mult=mult, shift=shift, out_bits=args.out_bits)
    with written_whole(args.out) as file:
        save(file, [layer])
    if args.json:
        print(json.dumps({"file": str(args.out), "layers": [describe(layer)]}, indent=2))
    else:
        show(str(args.out), [describe(layer)])
    return 0


def _of_channels(path: Path, channels: int) -> NDArray[Any]:
    array = read_array(path)
    if array.dtype.kind not in "iu" or array.shape != (channels,):
        raise InputError(f"{path} is {array.dtype} {list(array.shape)}, must be integers [{channels}], one a channel")
    return array


def never_saturating(
    weights: NDArray[Any], bias: NDArray[Any], out_bits: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """(mult, shift), the same for each channel, at which no activations can saturate a result.

    y is then (acc + bias) / 2^s to the nearest, with the least such s of 0 or more: mult 32768, shift 15 + s.
    """
    sums = np.abs(weights.astype(np.int64)).sum(axis=1) * 128 + np.abs(bias.astype(object))
    largest = int(sums.max(initial=0))
    s = 0
    while (largest + (1 << s >> 1)) >> s >= 1 << (out_bits - 1):
        s += 1
    return np.full(len(weights), 1 << 15, np.uint16), np.full(len(weights), 15 + s, np.uint8)
