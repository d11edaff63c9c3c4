"""What a series of text models is trained for: the dense model's embeddings, or labels by a head."""

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.families.bert.scores import scoring
from nmgen.families.interface import Calibration, ScoredOn, Scores
from nmgen.families.recipe import Progress, Recipe
from rtl.params import InputError

if TYPE_CHECKING:
    from pruning.encoder.forms import TextForm
    from pruning.families.bert.model import Encoder
    from pruning.training.tasks import Classification, Distillation

    TextTask = Distillation | Classification

HEAD_LR = 1e-4  # of the dense model that learns its head
HEAD, DENSE = -1, -2  # draw seeds of their own, as training in int8 does; the candidates of a series have 0, 1, …


class TextGoal:
    """Attributes as nmgen.families.interface.Goal has them."""

    task: "TextTask"
    bf16 = None

    def __init__(self, recipe: Recipe, model: "Encoder") -> None:
        from pruning.data.fitness import unfit
        from pruning.data.text import gather
        from pruning.training.tasks import check_sentences

        self._recipe, self.dense = recipe, model
        self._teacher = _teacher(recipe, model) if recipe.teacher else model
        self._rows = _rows(recipe, model) if recipe.classify else []
        self._sentences = [row.sentence for row in self._rows] if self._rows else gather(recipe.data)
        calibrated_on = gather([recipe.calibrate]) if recipe.calibrate else self._sentences
        source = recipe.calibrate or " ".join(map(str, recipe.data))
        self.calibration = Calibration(calibrated_on, unfit(model.tokenizer, calibrated_on, source))
        self.facts = {"sentences": len(self._sentences)}
        on = ScoredOn(sts=recipe.sts, classify=recipe.data[0] if recipe.classify else None)
        self._score = scoring(recipe.model, model, on).score
        if recipe.head_steps and not self._lacks_head:
            why = "has a head" if recipe.classify else "gets no head without --classify"
            raise InputError(f"--head-steps are to train a head, but {recipe.model} {why}")
        check_sentences(self._sentences)
        if recipe.teacher:
            _check_ids(recipe, model, self._teacher, self._sentences)

    @property
    def _lacks_head(self) -> bool:
        return self._recipe.classify and self.dense.head is None

    def begin(self, run: Path, progress: Progress) -> bool:
        from pruning.training.tasks import Classification, Distillation

        new = self._lacks_head
        if new:
            self.dense = _with_head(self.dense, self._rows, self._recipe, run, progress)
        if self._rows:
            self.task = Classification(self.dense, self._rows, self.dense)
        else:
            self.task = Distillation(self._teacher, self._sentences, self.dense.shape.layers)
        return new

    def about(self) -> dict[str, str]:
        return _about(self.task)

    def look(self) -> object:
        return self.dense.embed(self.calibration.inputs)

    def scores(self, form: "TextForm") -> Scores:
        """What the task says of a model beside what it scores on the files."""
        return {"validation": self.task.validate(form), **self._score(form)}


def _teacher(recipe: Recipe, student: "Encoder") -> "Encoder":
    """A larger model that a series is to be like, which has the student's width and whole times its blocks."""
    from pruning.families.bert.folder import load
    from pruning.files.folders import folder_of

    name = str(recipe.teacher)
    if recipe.classify:
        raise InputError(f"--teacher {name} gives embeddings, --classify wants labels: give one of them")
    teacher = load(folder_of(name))
    if teacher.shape.hidden != student.shape.hidden:
        raise InputError(
            f"the teacher {name} is {teacher.shape.hidden} wide, must be {student.shape.hidden} as {recipe.model}"
        )
    if teacher.shape.layers % student.shape.layers:
        raise InputError(
            f"the teacher {name} has {teacher.shape.layers} blocks, must have whole times the {student.shape.layers} "
            f"of {recipe.model}"
        )
    return teacher


def _check_ids(recipe: Recipe, student: "Encoder", teacher: "Encoder", sentences: list[str]) -> None:
    for sentence in sentences:
        if not student.ids(sentence).equal(teacher.ids(sentence)):
            raise InputError(f"{recipe.model} and its teacher {recipe.teacher} read other tokens in {sentence[:40]!r}")


def _rows(recipe: Recipe, encoder: "Encoder") -> list[Any]:
    """Of the recipe's train.txt."""
    from pruning.data.text import classification

    if len(recipe.data) != 1:
        raise InputError(f"--classify takes one folder as --data, not {len(recipe.data)}")
    splits = classification(recipe.data[0], encoder.classes or None)
    if "train" not in splits:
        raise InputError(f"{recipe.data[0] / 'train.txt'} is missing")
    return splits["train"]


def _about(task: "TextTask") -> dict[str, str]:
    """What a checkpoint has to say the same of: the task, and a digest of its text as the model reads it."""
    from pruning.training.tasks import Classification

    labels = task.labels.tolist() if isinstance(task, Classification) else None
    read = [ids.tolist() for ids in task.texts.ids], labels
    return {"task": type(task).__name__, "text": sha256(repr(read).encode()).hexdigest()[:16]}


def _with_head(encoder: "Encoder", rows: list[Any], recipe: Recipe, run: Path, progress: Progress) -> "Encoder":
    """The encoder with a new head, both trained on the labels: the dense model of the series."""
    import torch
    from torch import nn

    from pruning.families.bert.family import trainable
    from pruning.training.tasks import Classification
    from pruning.training.train import mixed, train

    steps = recipe.head_steps or recipe.steps
    encoder = trainable(encoder)
    task = Classification(encoder, rows)
    generator = torch.Generator().manual_seed(mixed(recipe.seed, HEAD))
    classes = max(row.label for row in rows) + 1
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
