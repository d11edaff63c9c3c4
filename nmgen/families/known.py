"""The two halves of a family, found by the name of its folders; `pruning.families.known` has the table."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nmgen.families.interface import Family
from pruning.families.known import FAMILIES, family_named, family_of
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

    def open(self, model: str) -> "Model":
        """The float model of a folder, of an artefact or of minilm."""
        if not Path(model).is_file():
            return self.prunes.load(folder_of(model))
        return self._named(model, self.prunes.from_artefact)

    def integers(self, model: str) -> "Form":
        """The int8 model of an artefact."""
        return self._named(model, self.prunes.integers)

    @staticmethod
    def _named(file: str, opened: "Callable[[Artefact], Any]") -> "Model":
        """What is opened of an artefact; a message begins with the file's name."""
        try:
            return opened(read(file))
        except InputError as error:
            raise InputError(str(error) if str(error).startswith(f"{file}: ") else f"{file}: {error}") from None


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
