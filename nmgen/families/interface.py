"""What a family of models is to the commands: the functions of its family.py.

Its other half, pruning/families/interface.py, opens, calibrates and exports; `known` finds both by the same name.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from nmgen.families.recipe import Progress, Recipe
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from nmgen.compiler.memory_map import Memory
    from nmgen.compiler.program import Program
    from pruning.families.interface import Form, Inputs, Model
    from pruning.files import artefact
    from pruning.training.train import Task

Scores = dict[str, Any]  # {'sts': {file: …}, 'mean': of these, 'accuracy': {split: per cent}}, what there is of it


def split_title(split: str) -> str:
    """What a table calls the split of an accuracy: those of text are files."""
    return split if " " in split else f"{split}.txt"


class Calibration(NamedTuple):
    """What scales are made of.

    inputs : sentences, or pictures uint8 [pictures, channels, side, side]
    unfit : one line that says what is poor about them; '' where they are fit
    """

    inputs: "Inputs"
    unfit: str


class Scoring(NamedTuple):
    """What scores models of one shape.

    score : of a model, float or int8
    inputs : some of what it is scored on, evenly spread: sentences, or pictures uint8 [pictures, channels, side, side]
    """

    score: "Callable[[Form], Scores]"
    inputs: "Inputs"


@dataclass(frozen=True, kw_only=True)
class ScoredOn:
    """What a model is scored on: files of scored pairs, a folder of labelled sentences, one of labelled pictures."""

    sts: tuple[Path, ...] = ()
    classify: Path | None = None
    images: Path | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """What a program gets, in a simulation or on a board.

    Parameters
    ----------
    name : of the program's file
    program : as it runs
    memory : its image with the input in it
    inputs : the same as `Family.reference` takes it
    count : sequences or pictures; what is left over counts for nothing
    facts : of the input, for the report
    result : the program's result that stands for an input: embedding, compared at length 1, or logits
    """

    name: Path
    program: "Program"
    memory: "NDArray[np.uint8]"
    inputs: Any
    count: int
    facts: dict[str, Any]
    result: str

    def floats(self, values: "NDArray[np.int16]") -> "NDArray[np.float32]":
        """What the program gave, in numbers for people: float32 [count, channels], embeddings of length 1, or logits.

        values : of `result`, int16 [sequences, channels]
        """
        import numpy as np

        (scale,) = (one.scale for one in self.program.results if one.name == self.result)
        found = values[: self.count].astype(np.float32)
        if self.result == "embedding":
            lengths = np.linalg.norm(found, axis=1, keepdims=True)
            return np.asarray(found / np.maximum(lengths, 1), np.float32)
        return np.asarray(found * scale, np.float32)


class Goal(Protocol):
    """What the models of a series are trained for, of the data of a recipe.

    Attributes
    ----------
    dense : the dense model; `begin` may train it first
    task : from `begin` on
    calibration : what scales are made of
    facts : of the data, for the report
    bf16 : as `pruning.training.train.train` takes it
    """

    dense: "Model"
    task: "Task"
    calibration: Calibration
    facts: Mapping[str, Any]
    bf16: bool | None

    def begin(self, run: Path, progress: Progress) -> bool:
        """Makes the task; says whether it trained the dense model for that. run : the folder of checkpoints"""

    def about(self) -> dict[str, str]:
        """What a checkpoint has to say the same of."""

    def look(self) -> object:
        """Sends all that is calibrated on through the dense model."""

    def scores(self, form: "Form") -> Scores:
        """How good a model is, float or int8."""


class Family(Protocol):
    """A module nmgen/families/NAME/family.py. InputError and OSError say what cannot be used.

    `name` is what messages call a model, `model` a float one.
    """

    TITLE: str  # with its article
    NEEDS: str  # what the user has to give to calibrate on; '' where nmgen has some
    HOST: str  # the region of a program that the host fills

    @staticmethod
    def calibration(model: "Model", paths: Sequence[Path]) -> Calibration:
        """What is in these files; without, what nmgen has."""

    @staticmethod
    def outputs(form: "Form", inputs: "Inputs") -> "Tensor":
        """What a model gives of what is calibrated or scored on, each at length 1: [inputs, channels]."""

    @staticmethod
    def lengths(name: str, seq: str | None, usual: str | None = None, *, flag: str = "seq") -> list[int]:
        """The tokens of each sequence by --seq; [] where models have their own.

        usual : without a flag
        flag : that `seq` is of, for messages
        """

    @staticmethod
    def program(
        parameters: Any,
        model: "artefact.Model",
        config: StaConfig,
        lengths: Sequence[int],
        batch: int,
        shorter: Sequence[int] = (),
        memory: "Memory | None" = None,
    ) -> "Program":
        """The program for so many times these sequences.

        parameters, model : of an artefact
        shorter : tokens of a sequence of other programs in its memory, from many to few; none for pictures
        memory : to fill, a new one unless given
        """

    @staticmethod
    def elastic(
        densities: "Mapping[str, tuple[Any, artefact.Model]]",
        config: StaConfig,
        lengths: Sequence[int],
        batch: int,
        shorter: Sequence[int] = (),
    ) -> "Program":
        """As program, with others for each sparser density over the same weights.

        densities : parameters and model of each, from dense to sparse
        """

    @staticmethod
    def narrowed(parameters: Any) -> Any:
        """The parameters with their table of words in 8 bits."""

    @staticmethod
    def goal(recipe: Recipe, model: "Model") -> Goal:
        """What a series is trained for; the data is read and checked."""

    @staticmethod
    def scoring(name: str, model: "Model", on: ScoredOn) -> Scoring:
        """What scores a model of this one's shape; the files are read and checked."""

    @staticmethod
    def layer_inputs(
        name: str, model: "Model", layers: Sequence[str], path: Path | None, track: Callable[[Sequence[str]], Any]
    ) -> "tuple[dict[str, Tensor], Mapping[str, Any], str]":
        """(float [tokens, in] of each layer, facts for the report, warning): what linear layers get of a file's inputs.

        track : shows how far a loop is
        """

    @staticmethod
    def given(args: argparse.Namespace, program: "Program", say: Callable[[str], None]) -> Given:
        """The input of a run by its flags: file, and text, ids and image, None where they are not given."""

    @staticmethod
    def reference(name: str, model: "Model", given: Given) -> "NDArray[np.float32]":
        """What a float model gives of the same, [count, channels]: at length 1, or logits."""
