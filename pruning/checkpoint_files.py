"""The tensors of a Hugging Face folder: model.safetensors, or the shards that model.safetensors.index.json names."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from rtl.params import InputError

ONE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = "pytorch_model*.bin"


class Weights:
    """Tensors by their names in the checkpoint, read when they are asked for.

    Parameters
    ----------
    path : what messages call the whole: the one file, or the index
    files : the open file that holds each tensor, and its path
    """

    def __init__(self, path: Path, files: dict[str, tuple[Any, Path]]) -> None:
        self.path, self._files = path, files

    @property
    def names(self) -> list[str]:
        return list(self._files)

    def get(self, name: str) -> Tensor:
        """InputError : the file is damaged."""
        file, path = self._files[name]
        try:
            tensor: Tensor = file.get_tensor(name)
        except SafetensorError as error:
            raise InputError(f"{path} is truncated or damaged: {error}") from None
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._files[name][0].get_slice(name).get_shape())


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
    tensors: dict[str, tuple[Any, Path]] = {}
    with ExitStack() as stack:
        for file in files:
            if not file.is_file():
                raise InputError(f"{file} is missing")
            try:
                handle = stack.enter_context(safe_open(file, "pt"))
            except SafetensorError as error:
                raise InputError(f"{file} is truncated or damaged: {error}") from None
            for name in handle.keys():  # noqa: SIM118  (no mapping, it only has keys())
                if name in tensors:
                    raise InputError(f"{file}: tensor {name} is in {tensors[name][1].name} as well, must be in one")
                tensors[name] = handle, file
        yield Weights(path, tensors)


def _shards(index: Path) -> list[Path]:
    """The files that an index names, all beside it."""
    try:
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
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
