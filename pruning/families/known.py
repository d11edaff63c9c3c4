"""Which families there are, and which one a model is of. A folder beside this file, and a line of the table, is one
more; its other half, which compiles, is the folder of the same name in nmgen/families/."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pruning.files.artefact import Artefact, read
from pruning.files.folders import folder_of
from pruning.files.reading import read_object
from rtl.params import InputError

if TYPE_CHECKING:  # it imports torch
    from pruning.families.interface import Family

# Folder → the values of model_type in config.json.
FAMILIES: dict[str, tuple[str, ...]] = {
    "bert": ("bert", "roberta", "xlm-roberta", "camembert", "distilbert"),
    "vit": ("vit",),
}
OLDEST = "bert"  # its first folders have no model_type


def family_of(model: Path | str) -> str:
    """The family of a folder, of an artefact or of minilm.

    Raises
    ------
    InputError, OSError : neither; an artefact of layers alone; a model of an unknown type.
    """
    if Path(model).is_file():
        return family_of_artefact(read(model), model)
    path = folder_of(model) / "config.json"
    return family_of_config(read_object(path), str(path))


def family_of_artefact(artefact: Artefact, file: Path | str) -> str:
    """The family of an artefact that was read from a file; errors as `family_of`'s."""
    try:
        return family_of_config(artefact.whole.config, "the artefact's config")
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def family_of_config(config: Mapping[str, Any], where: str) -> str:
    """The family by the contents of a config.json; where : whose they are, for messages."""
    if "model_type" not in config:
        return OLDEST
    for name, types in FAMILIES.items():
        if config["model_type"] in types:
            return name
    known = ", ".join(name for types in FAMILIES.values() for name in types)
    raise InputError(f"{where}: model_type is {config['model_type']!r}, must be one of {known}")


def family_named(name: str) -> "Family":
    """What prunes: the half of a family in this package."""
    return cast("Family", import_module(f"pruning.families.{name}.family"))
