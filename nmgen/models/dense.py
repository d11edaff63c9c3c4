"""A dense model out of a folder, with the text or the pictures that it is calibrated on.

One-shot pruning, compiling a folder and plans within a budget do the same with every family.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.families.known import halves_of
from pruning.files.folders import folder_of
from rtl.params import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nmgen.families.interface import Calibration
    from pruning.families.interface import Form, Model, Scales
    from pruning.files.artefact import Artefact
    from pruning.masks.methods import Method
    from pruning.masks.plan import Plan


class Dense:
    """A dense model in float, and what it is calibrated on.

    Parameters
    ----------
    name : a Hugging Face folder, or minilm
    calibrate : text, or one place with pictures, which a ViT needs; none: sentences of nmgen's own
    given : the model and what it is calibrated on, where they are there already

    Attributes
    ----------
    model : the float model; it stays as it is
    inputs : that it is calibrated on
    unfit : one line that says what is poor about what it is calibrated on; '' where it is fit

    Raises
    ------
    InputError, OSError : a folder, text or pictures that cannot be used.
    """

    def __init__(
        self, name: str, calibrate: Sequence[Path] = (), given: "tuple[Model, Calibration] | None" = None
    ) -> None:
        self.name = name
        self.family = halves_of(name)
        if given:
            self.model, (self.inputs, self.unfit) = given
            return
        family = self.family.compiles
        if family.NEEDS and not calibrate:
            raise InputError(
                f"{name} is a folder of {family.TITLE}: give {family.NEEDS} to calibrate on, --calibrate FILE or folder"
            )
        self.model = self.family.prunes.load(folder_of(name))
        self.inputs, self.unfit = family.calibration(self.model, calibrate)

    def linears(self) -> "dict[str, nn.Linear]":
        """The linear layers of the blocks by name."""
        found: dict[str, nn.Linear] = self.model.linears()
        return found

    def scales(self, model: "Model") -> "Scales":
        """The int8 scales of a float model of this one's shape."""
        return self.family.prunes.calibrate(model, self.inputs)

    def artefact(
        self,
        model: "Model",
        patterns: Mapping[str, tuple[int, int]],
        about: Mapping[str, Any],
        scales: "Scales | None" = None,
    ) -> "Artefact":
        """Of a float model of this one's shape.

        patterns : (n, m) by layer, all others are dense
        scales : None: those of that model, and its biases make up for what rounding shifts
        """
        prunes = self.family.prunes
        if scales is None:
            scales = self.scales(model)
            model = prunes.compensated(model, scales, self.inputs)
        return prunes.to_artefact(model, patterns, scales, about)

    def integers(self, artefact: "Artefact") -> "Form":
        """The int8 model of an artefact."""
        return self.family.prunes.integers(artefact)

    def save(self, model: "Model", folder: Path) -> None:
        """Write a Hugging Face folder; folder is new or empty."""
        self.family.prunes.save(model, folder)

    def chosen(self, layers: str = "all") -> list[str]:
        """The linear layers whose names match; InputError where none does."""
        return chosen(self.linears(), layers)

    def uniform(self, pattern: str, layers: str = "all") -> "Plan":
        """One pattern for the linear layers whose names match."""
        from pruning.masks.plan import Plan
        from rtl.format import parse_pattern

        return Plan(dict.fromkeys(self.chosen(layers), parse_pattern(pattern)))

    def pruned(self, plan: "Plan", method: str = "magnitude", *, permuted: bool = False) -> "Model":
        """A copy pruned in one shot by a method that trains nothing; a last group that is short counts as filled up.

        permuted : channels are reordered first, so that the groups lose less
        """
        from pruning.masks.methods import calibrated, method_of
        from pruning.masks.permutation import permute

        known = calibrated(method_of(method), self.model, list(plan.layers), lambda: self._outputs(self.model))
        model = self.model
        if permuted:
            model = deepcopy(model)
            known = known.reordered(permute(model, self.family.prunes.exchanges(model), plan, known.input_norms))
        return one_shot(model, plan, "pad", known)

    def cosine(self, form: "Form") -> float:
        """Between the outputs of a model, float or int8, and the dense model's, the mean."""
        return float((self._outputs(form) * self._own_outputs).sum(dim=1).mean())

    def _outputs(self, form: "Form") -> "Tensor":
        return self.family.compiles.outputs(form, self.inputs)

    @cached_property
    def _own_outputs(self) -> "Tensor":
        return self._outputs(self.model)


def one_shot(model: "Model", plan: "Plan", ragged: str, method: "str | Method" = "magnitude") -> "Model":
    """A copy of a model pruned to a plan as it is."""
    from pruning.masks.sparsify import finalize, sparsify

    copy = deepcopy(model)
    if plan.layers:
        sparsify(copy, plan, method=method, ragged=ragged)
        finalize(copy)
    return copy


def dense_artefact(dense: Dense, pattern: str | None) -> "Artefact":
    """The model in int8 as it is or, with a pattern, pruned to it in one shot."""
    name = Path(dense.name).name
    if pattern is None:
        return dense.artefact(dense.model, {}, {"model": name, "pattern": "dense"})
    plan = dense.uniform(pattern)
    about = {"model": name, "method": "magnitude", "pattern": str(plan)}
    return dense.artefact(dense.pruned(plan), plan.layers, about)


def chosen(names: Iterable[str], layers: str) -> list[str]:
    """The names that match a glob; 'all' are all. InputError where none does."""
    names = list(names)
    found = [name for name in names if layers == "all" or fnmatchcase(name, layers)]
    if not found:
        raise InputError(f"layers is {layers!r}, must match one of {len(names)} such as {names[0]}")
    return found
