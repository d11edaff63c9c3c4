"""The two halves of a family, found by the name of its folders; `pruning.families.known` has the table."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nmgen.families.interface import Family
from pruning.families.known import FAMILIES, family_named, family_of, family_of_artefact
from pruning.files.artefact import Artefact, read
from pruning.files.folders import folder_of
from rtl.params import InputError

if TYPE_CHECKING:
    from nmgen.compiler.program import Program
    from pruning.families import interface as pruning
    from pruning.families.interface import Form, Model


@dataclass(frozen=True)
class Halves:
    """A family: what opens, calibrates and exports its models, and what trains, scores and compiles them."""

    prunes: "pruning.Family"
    compiles: Family


class Named:
    """A model by the name that a user gives it: a folder, an artefact or minilm. An artefact's file is read once.

    Parameters
    ----------
    density : of an artefact of several densities which one, such as 1:8; None: the densest

    Attributes
    ----------
    artefact : None of a folder

    Raises
    ------
    InputError, OSError : there is none of that name, or of no known type; a file that cannot be used.
    """

    def __init__(self, name: str, density: str | None = None) -> None:
        self.name = name
        self.artefact: Artefact | None = read(name, density) if Path(name).is_file() else None
        if density is not None and self.artefact is None:
            raise InputError(f"{name} is no artefact of several densities: it takes no --density")
        self.family = halves_named(family_of_artefact(self.artefact, name) if self.artefact else family_of(name))

    @cached_property
    def float_model(self) -> "Model":
        if self.artefact is None:
            return self.family.prunes.load(folder_of(self.name))
        return self._opened(self.family.prunes.from_artefact, self.artefact)

    @cached_property
    def int8_model(self) -> "Form":
        """Of an artefact: a folder has none."""
        assert self.artefact
        return self._opened(self.family.prunes.integers, self.artefact)

    def _opened(self, how: "Callable[[Artefact], Any]", artefact: Artefact) -> Any:
        """What is made of the artefact; a message begins with the file's name."""
        try:
            return how(artefact)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None


def halves_of(model: str) -> Halves:
    """The family of a folder, an artefact or minilm; InputError where there is none of that type."""
    return halves_named(family_of(model))


def halves_named(name: str) -> Halves:
    return Halves(family_named(name), compiling(name))


def compiling(name: str) -> Family:
    """The half of a family in this package."""
    return cast(Family, import_module(f"nmgen.families.{name}.family"))


def family_of_program(program: "Program") -> Family:
    """One whose host fills in what the program's does: to a host, such families are alike."""
    regions = {region.name for region in program.regions}
    return next(family for family in map(compiling, FAMILIES) if family.HOST in regions)
