"""A series of trained N:M candidates of a text model, each with its artefact, its folder and its scores.

    OUT/NofM.safetensors   the artefact of a candidate          OUT/run/N-M.pt     its checkpoint
    OUT/NofM/              the same in float, a Hugging Face folder      N-M.jsonl   its metrics, a line a step
    OUT/report.json, OUT/accuracy.png                           OUT/dense/         a dense model that got its head here

What is written depends on the model, the text, the recipe and the seed alone, so a run that was killed and resumed
gives the same bytes. (The report has no times in it for the same reason.)

Of several processes (pruning/training/processes.py) all train, and the first one measures and writes.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.console.files import check_writable, written_whole
from nmgen.console.threads import one_thread
from nmgen.models.dense import chosen
from nmgen.models.scores import open_encoder, open_forms, score, sts_files
from rtl.params import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pruning.families.bert.integer import IntegerEncoder
    from pruning.families.bert.model import Encoder
    from pruning.masks.plan import Filter, Plan
    from pruning.training.series import Candidate
    from pruning.training.tasks import Classification, Distillation

    TextTask = Distillation | Classification

Progress = Callable[[str, int, int, float], None]
"""Told of a training step: what is trained, the step's number, of how many, its loss."""

HEAD_LR = 1e-4  # of the dense model that learns its head
HEAD, DENSE, QAT = -1, -2, -3  # draw seeds of their own; the candidates of a series have 0, 1, …


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is trained, on what, and how. `nmgen prune --help` says what each is."""

    model: str
    data: tuple[Path, ...]
    method: str = "idp"
    patterns: tuple[str, ...] = ()
    plan: "Path | Plan | None" = None
    budget: Mapping[str, Any] | None = None  # what the plan was chosen for
    layers: str = "all"
    ragged: str = "error"
    nested: bool = False
    classify: bool = False
    head_steps: int = 0
    steps: int = 1000
    qat: int = 0
    batch: int = 128
    lr: float = 3e-4
    seed: int = 0
    checkpoint_every: int = 100
    calibrate: Path | None = None
    sts: tuple[Path, ...] = ()
    resume: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """All of it but resume, ready for JSON."""
        return {key: _plain(value) for key, value in asdict(self).items() if key != "resume"}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


@dataclass(kw_only=True)
class Text:
    """What the recipe's data holds."""

    sentences: list[str]
    calibration: list[str]
    labels: Path | None  # the folder of labelled sentences
    rows: list[Any] = field(default_factory=list)  # of its train.txt


def prune_and_train(recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
    """Write all of the above; returns the report, which only the first process has whole.

    progress : of (what, step, steps, loss), called after each training step

    Raises
    ------
    InputError, OSError : whatever is wrong with the model, the text, the recipe or the folder. What is complete by then
        stays, checkpoints too.
    """
    from pruning.data.fitness import unfit
    from pruning.masks.methods import input_norms, method_of
    from pruning.training.processes import world
    from pruning.training.series import series
    from pruning.training.tasks import Classification, Distillation, check_sentences

    method = method_of(recipe.method, nested=recipe.nested)
    patterns = patterns_of(recipe, method.inherits)
    encoder = open_encoder(recipe.model)
    text = _text(recipe, encoder)
    names = set(chosen(encoder.linears(), recipe.layers))

    def filter_fn(_layer: "nn.Module", name: str) -> bool:
        return name in names

    _check(recipe, patterns, encoder, filter_fn)
    check_sentences(text.sentences)
    run = out / "run"
    first = world()[0] == 0
    if first:
        progress = noting(recipe, run, progress)

    if recipe.classify and encoder.head is None:
        encoder = _with_head(encoder, text, recipe, run, progress)
        if first:
            _write_folder(encoder, out / "dense")
    dense = encoder
    task: TextTask = Classification(dense, text.rows, dense) if text.rows else Distillation(dense, text.sentences)
    if method.weighs:
        method = method_of(
            recipe.method, norms=input_norms(dense, sorted(names), lambda: dense.embed(text.calibration))
        )

    report: dict[str, Any] = {
        "recipe": recipe.facts,
        "sentences": len(text.sentences),
        "dense": {"float": _scores(dense, task, recipe, text)} if first else {},
        "candidates": [],
    }
    if warning := unfit(encoder, text.calibration, recipe.calibrate or " ".join(map(str, recipe.data))):
        report["warning"] = warning
    candidates = series(
        trainable(dense),
        patterns,
        task,
        method=method,
        filter_fn=filter_fn,
        ragged=recipe.ragged,
        seed=recipe.seed,
        folder=run,
        on_step=lambda name, step, line: progress(name, step, recipe.steps, line["loss"]),
        steps=recipe.steps,
        batch=recipe.batch,
        lr=recipe.lr,
        checkpoint_every=recipe.checkpoint_every,
        resume=recipe.resume,
        about=_about(task),
    )
    for candidate in candidates:
        model, scales = _calibrated(candidate, task, recipe, text, run, progress)
        if first:
            report["candidates"].append(_export(model, scales, candidate, dense, task, recipe, text, out))
            with written_whole(out / "report.json") as file:
                file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if first:
        plot(report, out / "accuracy.png")
    return report


def noting(recipe: Recipe, run: Path, progress: Progress) -> Progress:
    """progress, which writes run/recipe.json when the first step is done: a run that is refused leaves nothing.

    Raises
    ------
    InputError, OSError : the folder takes no files; better now than after hours.
    """
    path = run / "recipe.json"
    check_writable(path)
    noted = False

    def on_step(name: str, step: int, steps: int, loss: float) -> None:
        nonlocal noted
        if not noted:
            with written_whole(path) as file:
                file.write_text(json.dumps(recipe.facts, indent=2) + "\n", encoding="utf-8")
            noted = True
        progress(name, step, steps, loss)

    return on_step


def trainable(encoder: "Encoder") -> "Encoder":
    """A copy whose weights train, but for the embedding tables: most of their rows are of words that the text lacks."""
    from torch import nn

    copy = deepcopy(encoder).requires_grad_(True)
    for module in copy.embeddings.modules():
        if isinstance(module, nn.Embedding):
            module.requires_grad_(False)
    return copy


def patterns_of(recipe: Recipe, inherits: bool) -> "list[str | Plan]":
    """What a series is made of, from dense to sparse."""
    from pruning.masks.plan import Plan
    from rtl.format import parse_pattern

    if recipe.method == "dense":
        return ["8:8"]
    if recipe.plan:
        return [Plan.read(recipe.plan) if isinstance(recipe.plan, Path) else recipe.plan]
    parsed = [parse_pattern(pattern) for pattern in recipe.patterns]
    for (n, m), (fewer, of) in pairwise(parsed):
        if inherits and fewer * m > n * of:
            raise InputError(
                f"patterns step from {n}:{m} up to {fewer}:{of}, must step down where a candidate inherits"
            )
        if recipe.nested and m != of:
            raise InputError(f"pattern {fewer}:{of} cannot be nested in {n}:{m}, must have groups of {m}")
    return list(recipe.patterns)


def _check(recipe: Recipe, patterns: "list[str | Plan]", encoder: "Encoder", filter_fn: "Filter") -> None:
    """What would be refused only after hours: a layer that a pattern does not fit, pairs to score that are none."""
    from pruning.data.text import sts
    from pruning.masks.plan import Plan
    from pruning.training.train import check_numbers

    check_numbers(recipe.steps, recipe.batch, recipe.lr)

    for pattern in patterns:
        if isinstance(pattern, Plan):
            pattern.checked(encoder, recipe.ragged)
        else:
            Plan.uniform(encoder, pattern, filter_fn, recipe.ragged)
    for path in sts_files(recipe.sts):
        sts(path)
    if recipe.head_steps and not (recipe.classify and encoder.head is None):
        why = "has a head" if recipe.classify else "gets no head without --classify"
        raise InputError(f"--head-steps are to train a head, but {recipe.model} {why}")


def _text(recipe: Recipe, encoder: "Encoder") -> Text:
    from pruning.data.text import classification, gather

    rows: list[Any] = []
    labels = None
    if recipe.classify:
        if len(recipe.data) != 1:
            raise InputError(f"--classify takes one folder as --data, not {len(recipe.data)} places")
        labels = recipe.data[0]
        splits = classification(labels, encoder.classes or None)
        if "train" not in splits:
            raise InputError(f"{labels / 'train.txt'} is missing")
        rows = splits["train"]
    sentences = [row.sentence for row in rows] if rows else gather(recipe.data)
    calibration = gather([recipe.calibrate]) if recipe.calibrate else sentences
    return Text(sentences=sentences, calibration=calibration, labels=labels, rows=rows)


def _about(task: "TextTask") -> dict[str, str]:
    """What a checkpoint has to say the same of: the task, and a digest of its text as the model reads it."""
    from pruning.training.tasks import Classification

    labels = task.labels.tolist() if isinstance(task, Classification) else None
    read = [ids.tolist() for ids in task.texts.ids], labels
    return {"task": type(task).__name__, "text": sha256(repr(read).encode()).hexdigest()[:16]}


def _with_head(encoder: "Encoder", text: Text, recipe: Recipe, run: Path, progress: Progress) -> "Encoder":
    """The encoder with a new head, both trained on the labels: the dense model of the series."""
    import torch
    from torch import nn

    from pruning.training.tasks import Classification
    from pruning.training.train import mixed, train

    steps = recipe.head_steps or recipe.steps
    encoder = trainable(encoder)
    task = Classification(encoder, text.rows)
    generator = torch.Generator().manual_seed(mixed(recipe.seed, HEAD))
    classes = max(row.label for row in text.rows) + 1
    encoder.head = nn.Linear(encoder.shape.hidden, classes)
    with torch.no_grad():
        encoder.head.weight.normal_(std=0.02, generator=generator)
        encoder.head.bias.zero_()
    train(
        encoder,
        task,
        steps=steps,
        batch=recipe.batch,
        lr=HEAD_LR,
        seed=mixed(recipe.seed, DENSE),
        checkpoint=run / "dense.pt",
        checkpoint_every=recipe.checkpoint_every,
        resume=recipe.resume,
        metrics=run / "dense.jsonl",
        about=_about(task),
        on_step=lambda step, line: progress("dense", step, steps, line["loss"]),
    )
    return encoder.requires_grad_(False)


# --- one candidate ---------------------------------------------------------------------------------------------------


def _calibrated(
    candidate: "Candidate",
    task: "TextTask",
    recipe: Recipe,
    text: Text,
    run: Path,
    progress: Progress,
) -> "tuple[Encoder, Mapping[str, Tensor]]":
    """(model, int8 scales) of a candidate, trained in int8 where the recipe says so."""
    from pruning.families.bert.calibrate import calibrate
    from pruning.families.bert.model import Encoder

    model = candidate.model
    assert isinstance(model, Encoder)
    with one_thread():
        scales = calibrate(model, text.calibration)
    return (_qat(model, candidate, scales, task, recipe, run, progress) if recipe.qat else model), scales


def _export(
    model: "Encoder",
    scales: "Mapping[str, Tensor]",
    candidate: "Candidate",
    dense: "Encoder",
    task: "TextTask",
    recipe: Recipe,
    text: Text,
    out: Path,
) -> dict[str, Any]:
    """Write a candidate's artefact and folder; returns its entry in the report."""
    from pruning.families.bert.export import to_artefact
    from pruning.files.artefact import save
    from pruning.masks.sparsify import finalize, sparsify, verify

    verify(model, candidate.plan)
    name = "dense" if recipe.method == "dense" else candidate.name.replace("-", "of") if recipe.patterns else "plan"
    about = {"model": recipe.model, "method": recipe.method, "pattern": str(candidate.plan), "seed": recipe.seed}
    artefact = to_artefact(model, candidate.plan.layers, scales, about)
    with written_whole(out / f"{name}.safetensors") as file:
        save(file, artefact.layers.values(), artefact.model)
    _write_folder(model, out / name)

    entry: dict[str, Any] = {
        "name": name,
        "plan": {layer: f"{n}:{m}" for layer, (n, m) in candidate.plan.layers.items()},
        "artefact": f"{name}.safetensors",
        "folder": name,
        "density": _density(model),
        "bytes": sum(layer.packed_bytes for layer in artefact.layers.values()),
        "dense_bytes": sum(layer.weights.size for layer in artefact.layers.values()),
        "float": _scores(model, task, recipe, text),
    }
    entry["int8"] = _scores(open_forms(str(out / f"{name}.safetensors"))["int8"], task, recipe, text)
    if candidate.plan.layers:
        shot = deepcopy(dense)
        sparsify(shot, candidate.plan, method="magnitude", ragged=recipe.ragged)
        finalize(shot)
        entry["one-shot"] = _scores(shot, task, recipe, text)
    return entry


def _qat(
    model: "Encoder",
    candidate: "Candidate",
    scales: "Mapping[str, Tensor]",
    task: "TextTask",
    recipe: Recipe,
    run: Path,
    progress: Progress,
) -> "Encoder":
    """The candidate after recipe.qat steps in which it computes as int8 will; its masks stay as they are."""
    from pruning.families.bert.fake_quant import dequantise, quantise
    from pruning.masks.masked import masked_layers
    from pruning.masks.sparsify import finalize, sparsify
    from pruning.training.train import mixed, train

    model = trainable(model)
    sparsify(model, candidate.plan, method="asp", ragged=recipe.ragged)
    for name, (_, masked) in masked_layers(model).items():
        masked.mask.copy_(candidate.masks[name])
    quantise(model, scales)
    train(
        model,
        task,
        steps=recipe.qat,
        batch=recipe.batch,
        lr=recipe.lr / 10,
        seed=mixed(recipe.seed, QAT),
        checkpoint=run / f"{candidate.name}-qat.pt",
        checkpoint_every=recipe.checkpoint_every,
        resume=recipe.resume,
        metrics=run / f"{candidate.name}-qat.jsonl",
        about=_about(task),
        on_step=lambda step, line: progress(f"{candidate.name} int8", step, recipe.qat, line["loss"]),
    )
    dequantise(model)
    finalize(model)
    return model.requires_grad_(False)


def _write_folder(encoder: "Encoder", folder: Path) -> None:
    from pruning.families.bert.folder import save

    write_folder(save, encoder, folder)


def write_folder(save: Callable[[Any, Path], None], model: Any, folder: Path) -> None:
    """Replace a model's Hugging Face folder, whole; save(model, folder) writes a new one."""
    with written_whole(folder, replace=True) as scratch:
        scratch.mkdir()
        save(model, scratch)


def _density(encoder: "Encoder") -> float:
    """Share of the blocks' linear weights that are not zero."""
    weights = [linear.weight for linear in encoder.linears().values()]
    return sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)


def _scores(encoder: "Encoder | IntegerEncoder", task: "TextTask", recipe: Recipe, text: Text) -> dict[str, Any]:
    """What the task says of a model, and what it scores on the files of the recipe and on labelled splits."""
    import torch

    with one_thread(), torch.no_grad():
        validation = task.validate(encoder)
        return {"validation": validation, **score(encoder, sts_files(recipe.sts), text.labels)}


# --- what is seen ----------------------------------------------------------------------------------------------------


def headline(scores: Mapping[str, Any]) -> tuple[str, float]:
    """The one score that stands for a model, and what it is."""
    if "cosine" in scores:
        return "cosine to what the dense model gives of the calibration data", scores["cosine"]
    if "mean" in scores:
        return "Spearman · 100, mean of the files", scores["mean"]
    if "accuracy" in scores:
        split = list(scores["accuracy"])[-1]
        return f"accuracy on {split if ' ' in split else f'{split}.txt'}, %", scores["accuracy"][split]
    return "cosine to the dense model's embeddings, validation", scores["validation"]["cosine"]


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Accuracy against density: the candidates in float and int8, one-shot, and the dense model."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        print("nmgen: no plot, matplotlib is not installed: pip install 'nmgen[plot]'", file=sys.stderr)
        return
    what, dense = headline(report["dense"]["float"])
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.axhline(dense, color="grey", linewidth=1, linestyle="--", label="dense")
    for form, marker in (("float", "o"), ("int8", "x"), ("one-shot", "s")):
        found = [(entry["density"], headline(entry[form])[1]) for entry in report["candidates"] if form in entry]
        if found:
            axes.plot(*zip(*sorted(found), strict=True), marker=marker, label=form)
    axes.set_xlabel("density of the linear layers")
    axes.set_ylabel(what)
    axes.set_title(f"{report['recipe']['model']}, {report['recipe']['method']}")
    axes.legend()
    with written_whole(path) as file:
        figure.savefig(file, format="png", dpi=120)


class Reporter:
    """Says on stderr how far a run is and how long it has to go."""

    EVERY = 10.0  # seconds between lines where stderr is no terminal

    def __init__(self) -> None:
        self._begun = self._said = time.monotonic()
        self._stage = ""
        self._first = 0  # the step that this stage began with: a resumed one does not begin at 1

    def __call__(self, name: str, step: int, steps: int, loss: float) -> None:
        now = time.monotonic()
        if name != self._stage:
            self._stage, self._begun, self._first = name, now, step
        elif step == steps or now - self._said >= (1.0 if sys.stderr.isatty() else self.EVERY):
            left = (now - self._begun) / (step - self._first) * (steps - step)
            end = "\r" if sys.stderr.isatty() and step < steps else "\n"
            text = f"{name}: step {step} of {steps}, loss {loss:.4f}, {left / 60:.1f} minutes left"
            print(f"{text:<78}", end=end, file=sys.stderr, flush=True)
            self._said = now
