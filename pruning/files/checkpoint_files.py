"""The tensors of a Hugging Face folder: model.safetensors, or the shards that model.safetensors.index.json names."""

import re
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pruning.files.reading import MIB, Stored, read_header, read_json, regular_file
from rtl.params import InputError

ONE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = "pytorch_model*.bin"
FILE_MAX = 16384 * MIB  # bytes of a file; they are mapped, not read
TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    **{f"{sign}{bits}": f"{kind}{bits}" for sign, kind in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)},
}  # torch's names; of the floats those that nmgen computes with
FLOATS = ("F64", "F32", "F16", "BF16")


def check_finite(name: str, tensor: Tensor) -> None:
    """InputError that names the tensor, and the place of its first NaN or infinity."""
    wrong = (~torch.isfinite(tensor)).nonzero()
    if len(wrong):
        place = wrong[0].tolist()
        raise InputError(f"tensor {name} is {tensor[tuple(place)].item()} at {place}, must be finite")


class Weights:
    """Tensors by their names in the checkpoint, read when they are asked for.

    Parameters
    ----------
    path : what messages call the whole: the one file, or the index
    files : the open file that holds each tensor, its path, and what the header says of the tensor
    """

    def __init__(self, path: Path, files: dict[str, tuple[Any, Path, Stored]]) -> None:
        self.path, self._files = path, files

    @property
    def names(self) -> list[str]:
        return list(self._files)

    def get(self, name: str) -> Tensor:
        """InputError : the file is damaged, or the tensor of a type that torch lacks."""
        file, path, _ = self._files[name]
        try:
            tensor: Tensor = file.get_tensor(name)
        except Exception as error:  # SafetensorError, and what torch raises at types that it lacks
            raise InputError(f"{path}: tensor {name} cannot be read: {error}") from None
        return tensor

    def floats(self, name: str, shape: tuple[int, ...], called: str = "") -> Tensor:
        """A tensor in float32; InputError unless it is of that shape, of floats, and finite. Messages may call it
        otherwise than the checkpoint does."""
        called = called or name
        _, path, stored = self._files[name]
        if stored.shape != shape or stored.kind not in FLOATS:
            kind = f"{TYPES.get(stored.kind, stored.kind)} {list(stored.shape)}"
            raise InputError(f"{path}: tensor {called} is {kind}, must be float {list(shape)} by config.json")
        single = self.get(name).to(torch.float32)
        try:
            check_finite(called, single)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        return single

    def shape(self, name: str) -> tuple[int, ...]:
        return self._files[name][2].shape

    def check_layers(self, names: Collection[str], layers: int) -> None:
        """InputError unless blocks 0 … layers − 1 are among the names, which are those of our modules.

        Who builds a model asks this first: config.json may say any number.
        """
        there = {int(found[1]) for name in names if (found := re.match(r"encoder\.layer\.(\d{1,9})\.", name))}
        if absent := [number for number in range(layers) if number not in there]:
            raise InputError(f"{self.path}: tensor encoder.layer.{absent[0]}.output.dense.weight is missing")


@contextmanager
def opened(folder: Path) -> Iterator[Weights]:
    """The checkpoint of a folder.

    Raises
    ------
    InputError : no checkpoint, or only one that nmgen does not read; a file that is missing or damaged.
    """
    path, files = folder / ONE, [folder / ONE]
    if not path.is_file() and (folder / INDEX).is_file():
        path = folder / INDEX
        files = _shards(path)
    if not path.is_file() and (pickles := sorted(folder.glob(PICKLES))):
        raise InputError(_how_to_convert(folder, pickles))
    tensors: dict[str, tuple[Any, Path, Stored]] = {}
    with ExitStack() as stack:
        for file in files:
            if not file.is_file():
                raise InputError(f"{file} is missing")
            data, size = stack.enter_context(regular_file(file, FILE_MAX))
            try:
                header = read_header(data, size)
                handle = stack.enter_context(safe_open(file, "pt"))
            except (InputError, SafetensorError) as error:
                raise InputError(f"{file} is truncated or damaged: {error}") from None
            for name, stored in header.tensors.items():
                if name in tensors:
                    raise InputError(f"{file}: tensor {name} is in {tensors[name][1].name} as well, must be in one")
                tensors[name] = handle, file, stored
        yield Weights(path, tensors)


def _shards(index: Path) -> list[Path]:
    """The files that an index names, all beside it."""
    try:
        named = set(read_json(index)["weight_map"].values())
    except (ValueError, LookupError, TypeError, AttributeError):
        raise InputError(f"{index} is no index of shards: it has no object weight_map") from None
    for name in named:
        # Names come from a stranger: none may lead out of the folder.
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise InputError(f"{index}: a shard is {name!r}, must be the name of a .safetensors file beside it")
    return [index.with_name(name) for name in sorted(named)]


def _how_to_convert(folder: Path, pickles: list[Path]) -> str:
    """What to do with a checkpoint in torch's own format, which may run code when it is read carelessly."""
    code = (
        "import torch, safetensors.torch as s; w = {}; "
        f"[w.update(torch.load(f, weights_only=True)) for f in {[str(file) for file in pickles]}]; "
        f"s.save_file({{k: v.contiguous().clone() for k, v in w.items()}}, {str(folder / ONE)!r})"
    )
    return f'{pickles[0]} is not safetensors: convert it with: python -c "{code}"'
