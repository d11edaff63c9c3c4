"""Checkpoints: the whole state of a run in one file, written whole or not at all, and refused by other runs."""

import hashlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from torch import nn

from pruning.files.writing import write_whole, writing
from rtl.params import InputError

VERSION = 2  # since a mask is int32


def digest(model: nn.Module) -> str:
    """SHA-256 of a model's whole state: names, kinds, shapes and bytes."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()


def check_place(path: Path) -> None:
    """InputError unless a file can be written to path: better now than when the first checkpoint is due."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Replaces the checkpoint at path."""
    data = io.BytesIO()
    torch.save({"nmgen": VERSION, **state}, data)
    with writing(path):
        write_whole(path, data.getbuffer())


def load(path: Path, run: Mapping[str, Any]) -> dict[str, Any]:
    """The state in a checkpoint, of which `state["run"]` says the same as run.

    Raises
    ------
    InputError : no checkpoint, damaged, or of another run, with the first difference named.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns of what it then fails at
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:  # of damaged bytes torch raises almost anything
        raise InputError(f"checkpoint {path} is damaged: torch cannot read it") from None
    if not isinstance(state, dict) or state.get("nmgen") != VERSION:
        raise InputError(f"{path} is no checkpoint of this program's version {VERSION}")
    theirs = state.get("run")
    for name, value in run.items():
        found = theirs.get(name) if isinstance(theirs, dict) else None
        if found != value:
            raise InputError(f"checkpoint {path} is of another run: its {name} is {found}, this run's is {value}")
    return state
