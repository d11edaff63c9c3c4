"""The BERT family to the commands (nmgen/families/interface.py)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.families.bert.compiler import compile_elastic, compile_encoder
from nmgen.families.bert.goal import TextGoal
from nmgen.families.bert.scores import scoring
from nmgen.families.bert.simulation import given, reference
from nmgen.families.interface import Calibration
from nmgen.families.recipe import Recipe
from rtl.params import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from nmgen.compiler.memory_map import Memory
    from nmgen.compiler.program import Program
    from pruning.encoder.forms import TextForm
    from pruning.families.bert.model import Encoder
    from pruning.families.bert.parameters import IntegerParameters
    from pruning.files.artefact import Model
    from rtl.sta.params import StaConfig

TITLE, NEEDS, HOST = "an encoder of text", "", "ids"
OWN = "of nmgen's own"  # what messages call the sentences of nmgen


def calibration(model: "Encoder", paths: Sequence[Path]) -> Calibration:
    from pruning.data.fitness import unfit
    from pruning.data.text import SENTENCES, gather

    sentences = gather(paths or [SENTENCES])
    return Calibration(sentences, unfit(model.tokenizer, sentences, " ".join(map(str, paths)) or OWN))


def outputs(form: "TextForm", inputs: Sequence[str]) -> "Tensor":
    from pruning.families.bert.calibrate import representative

    return form.embed(representative(inputs))


def lengths(name: str, seq: str | None, usual: str | None = None, *, flag: str = "seq") -> list[int]:
    seq = seq or usual
    if seq is None:
        raise InputError(f"{name} reads text: give --seq, the tokens of a sequence")
    try:
        found = [int(part) for part in seq.split(",")]
    except ValueError:
        found = [0]
    if min(found) < 1:
        raise InputError(f"{flag} is {seq!r}, must be numbers of tokens of at least 1, such as 32 or 32,16")
    return found


def program(
    parameters: "IntegerParameters",
    model: "Model",
    config: "StaConfig",
    lengths: Sequence[int],
    batch: int,
    shorter: Sequence[int] = (),
    memory: "Memory | None" = None,
) -> "Program":
    every = [[tokens] * batch for tokens in shorter]
    found = compile_encoder(parameters, config, [*lengths] * batch, dict(model.about), every, memory)
    return found.each_with(tokenizer=model.tokenizer)


def elastic(
    densities: "Mapping[str, tuple[IntegerParameters, Model]]",
    config: "StaConfig",
    lengths: Sequence[int],
    batch: int,
    shorter: Sequence[int] = (),
) -> "Program":
    parameters = {name: one for name, (one, _) in densities.items()}
    about = {name: model.about for name, (_, model) in densities.items()}
    found = compile_elastic(parameters, config, [*lengths] * batch, about, [[tokens] * batch for tokens in shorter])
    return found.each_with(tokenizer=next(model.tokenizer for _, model in densities.values()))


def narrowed(parameters: "IntegerParameters") -> "IntegerParameters":
    return parameters.narrowed()


def goal(recipe: Recipe, model: "Encoder") -> TextGoal:
    return TextGoal(recipe, model)


def layer_inputs(
    _name: str, model: "Encoder", layers: Sequence[str], path: Path | None, track: Callable[[Sequence[str]], Any]
) -> "tuple[dict[str, Tensor], dict[str, Any], str]":
    from pruning.data.fitness import unfit
    from pruning.data.text import SENTENCES, read_sentences

    sentences = read_sentences(path or SENTENCES)
    found = model.inputs(track(sentences), layers)
    return found, {"sentences": len(sentences)}, unfit(model.tokenizer, sentences, path or OWN)
