"""The candidates of a search: models of one shape with different patterns, each with a score.

They are artefacts with a report beside them, as `nmgen prune` leaves them, or made here by one-shot pruning.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import file_digest, sha256
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.console.progress import Say
from nmgen.explore.counting import digest_of
from nmgen.training.report import headline
from pruning.files.folders import folder_of
from pruning.files.reading import parse_json, read_text
from rtl.format import parse_pattern
from rtl.params import InputError, round_up
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    from nmgen.models.dense import Dense
    from pruning.files.artefact import Artefact
    from pruning.masks.plan import Plan

REPORT = "report.json"
REPORT_MAX = 64 << 20  # bytes
FOLDER = "candidates"
WIDEST = 32  # bytes of a port that a search chooses by itself


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model.

    Attributes
    ----------
    name : tells it apart
    pattern : of its layers, in a few words
    file : its artefact; digest : a hash of that
    accuracy : of its integers; metric : what that is
    """

    name: str
    pattern: str
    file: Path
    digest: str
    accuracy: float
    metric: str


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a configuration has to have room for.

    tokens : of a sequence, where a model has its own; else 0
    whole : the shape as the family has it
    """

    hidden: int
    heads: int
    longest: int  # inputs of a layer
    groups: int  # elements, of the layers that are pruned; 0 where none is
    tokens: int = 0
    whole: Any = None

    @property
    def spread(self) -> int:
        """Inputs of the attention's output layer, each head of whole words of the widest port."""
        return self.heads * round_up(self.hidden // self.heads, WIDEST)


def open_candidates(names: Sequence[str]) -> list[Candidate]:
    """Of artefacts, and of folders with a report.

    Raises
    ------
    InputError, OSError : a file that cannot be used, no score, models of different shapes.
    """
    found: list[Candidate] = []
    for name in names:
        path = Path(name)
        found += _of_folder(path) if path.is_dir() else [_of_file(path)]
    found = _named_apart(found)
    check_alike(found)
    return found


def _named_apart(found: Sequence[Candidate]) -> list[Candidate]:
    """Each file once; those of one name get their folders in front, as many as it takes."""
    files: dict[Path, Candidate] = {}
    for one in found:
        first = files.setdefault(one.file.resolve(), one)
        if one.accuracy != first.accuracy:
            raise InputError(f"{one.file} has two scores, {first.accuracy:g} and {one.accuracy:g}: must have one")
    names = {file: file.stem for file in files}
    for depth in range(1, max(len(file.parts) for file in files)):
        counted = Counter(names.values())
        if max(counted.values()) == 1:
            break
        for file, name in names.items():
            if counted[name] > 1:
                names[file] = "/".join([*file.parts[max(1, len(file.parts) - 1 - depth) : -1], file.stem])
    return [replace(one, name=names[file]) for file, one in files.items()]


def check_alike(candidates: Sequence[Candidate]) -> None:
    """InputError unless all are of one model and scored alike."""
    first = candidates[0]
    shape = replace(shape_of(first), groups=0)
    for one in candidates[1:]:
        if replace(shape_of(one), groups=0) != shape:
            raise InputError(f"{one.file} and {first.file} are models of different shapes, must be candidates of one")
        if one.metric != first.metric:
            raise InputError(f"{one.file} has {one.metric}, {first.file} {first.metric}: must be scored alike")


def _of_folder(folder: Path) -> list[Candidate]:
    entries = _report(folder)["candidates"]
    return [_candidate(folder / entry["artefact"], entry) for entry in entries]


def _of_file(path: Path) -> Candidate:
    if not path.exists():
        raise InputError(f"{path} is neither artefact nor folder: of a dense model such as minilm, give --patterns")
    for entry in _report(path.parent)["candidates"]:
        if entry["artefact"] == path.name:
            return _candidate(path, entry)
    raise InputError(f"{path.parent / REPORT} has no entry of {path.name}, must have its score")


def _report(folder: Path) -> dict[str, Any]:
    path = folder / REPORT
    if not path.is_file():
        raise InputError(f"{path} is missing, which nmgen prune writes: it has the score of each candidate")
    report = parse_json(read_text(path, REPORT_MAX))
    entries = report.get("candidates") if isinstance(report, dict) else None
    usable = isinstance(entries, list) and all(
        isinstance(one, dict)
        and isinstance(one.get("artefact"), str)
        and "\0" not in one["artefact"]
        and isinstance(one.get("int8"), dict)
        for one in entries
    )
    if not usable or not entries:
        raise InputError(f"{path} lists no candidates with an artefact and int8 scores, must be nmgen prune's")
    return {"candidates": entries}


def _candidate(path: Path, entry: Mapping[str, Any]) -> Candidate:
    try:
        metric, score = headline(entry["int8"])
    except (KeyError, TypeError, IndexError):
        raise InputError(f"{path.parent / REPORT} has no score of {path.name} that is known") from None
    if not isinstance(score, int | float) or isinstance(score, bool) or not isfinite(score):
        raise InputError(f"{path.parent / REPORT} has {score!r} for a score of {path.name}, must be a number")
    return Candidate(
        name=path.stem,
        pattern=_pattern(_read(path)),
        file=path,
        digest=digest_of(path),
        accuracy=float(score),
        metric=f"{metric}, int8",
    )


def _read(path: Path) -> "Artefact":
    from pruning.files.artefact import read

    artefact = read(path)
    if artefact.model is None:
        raise InputError(f"{path} holds layers alone, must be a whole model")
    return artefact


def _pattern(artefact: "Artefact") -> str:
    """One for all layers, or how many have which."""
    patterns = [f"{layer.n}:{layer.m}" if layer.n < layer.m else "dense" for layer in artefact.layers.values()]
    counted = {one: patterns.count(one) for one in dict.fromkeys(patterns)}
    return patterns[0] if len(counted) == 1 else ", ".join(f"{count} × {one}" for one, count in counted.items())


def shape_of(candidate: Candidate) -> Shape:
    """Of its family's model."""
    from nmgen.families.known import halves_named
    from pruning.families.known import family_of_config

    artefact = _read(candidate.file)
    family = halves_named(family_of_config(artefact.whole.config, str(candidate.file)))
    shape = family.prunes.parameters(artefact).shape
    longest = max(layer.k for layer in artefact.layers.values())
    groups = max((layer.m for layer in artefact.layers.values() if layer.n < layer.m), default=0)
    tokens = getattr(shape, "tokens", 0)
    return Shape(hidden=shape.hidden, heads=shape.heads, longest=longest, groups=groups, tokens=tokens, whole=shape)


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """Of candidates that are made here, in one shot by magnitude.

    Attributes
    ----------
    patterns : of all layers, or dense
    plans : of layer-wise plans, between the cycles of the sparsest and the densest patterns
    lengths : tokens of the sequences that these cycles are of; none where the model has its own
    calibrate : text or pictures; None: sentences of nmgen's own
    """

    patterns: Sequence[str]
    plans: int
    lengths: Sequence[int]
    calibrate: Path | None


def prune_candidates(model: str, asked: Pruning, out: Path, say: Say) -> list[Candidate]:
    """The candidates, kept in out, so that a search goes on with the same.

    Raises
    ------
    InputError, OSError : a model, a pattern or text that cannot be used.
    """
    from nmgen.console.threads import one_thread
    from nmgen.models.dense import Dense
    from nmgen.training.one_shot import prune_one_shot
    from pruning.masks.plan import Plan

    folder = out / FOLDER
    content = [folder_of(model), *([asked.calibrate] if asked.calibrate else [])]
    facts = {"model": model, **asdict(asked), "calibrate": str(asked.calibrate or ""), "content": _digest(content)}
    facts = json.loads(json.dumps(facts))
    if (folder / REPORT).is_file():
        kept = parse_json(read_text(folder / REPORT, REPORT_MAX))
        before = kept.get("asked") if isinstance(kept, dict) else None
        if before == facts:
            return open_candidates([str(folder)])
        differ = [name for name, value in facts.items() if isinstance(before, dict) and before.get(name) != value]
        other = f" ({', '.join(differ)})" if differ else ""
        raise InputError(f"{folder} holds candidates of another search{other}, give an -o of its own")
    with one_thread():
        say("reading the model")
        dense = Dense(model, [asked.calibrate] if asked.calibrate else [])
        wanted = {one.replace(":", "of"): one for one in asked.patterns}
        plans = {name: Plan({}) if one == "dense" else dense.uniform(one) for name, one in wanted.items()}
        plans = {name: plan.checked(dense.model, "pad") for name, plan in plans.items()}
        plans |= _plans(dense, asked, say)
        prune_one_shot(dense, plans, folder, say, {"asked": facts})
    return open_candidates([str(folder)])


def _digest(paths: Sequence[Path]) -> str:
    """Of files and of what lies in folders."""
    digest = sha256()
    for path in paths:
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            digest.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as opened:
                digest.update(file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:24]


def _plans(dense: "Dense", asked: Pruning, say: Say) -> "dict[str, Plan]":
    """Plans of least expected harm, each within a budget of the cycles of a core of 8x8 elements, N = 2."""
    from nmgen.families.recipe import Target
    from nmgen.training.budget import Planner

    if not asked.plans:
        return {}
    groups = [parse_pattern(one)[1] for one in asked.patterns if one != "dense"]
    shape = dense.model.shape
    longest = max(linear.in_features for linear in dense.linears().values())
    spread = Shape(hidden=shape.hidden, heads=shape.heads, longest=longest, groups=0).spread
    config = StaConfig(
        m=max(groups, default=StaConfig.m),
        hidden=shape.hidden,
        max_k=max(longest, *asked.lengths, spread),
        max_tokens=max(StaConfig.max_tokens, sum(round_up(length, StaConfig.rows) for length in asked.lengths)),
        store_words=1 << 14,
    )
    planner = Planner(dense, "all", Target(config=config, lengths=list(asked.lengths)), say)
    ratio = planner.dense / planner.least
    budgets = [round(planner.least * ratio ** (i / (asked.plans + 1))) for i in range(1, asked.plans + 1)]
    harm = planner.harm(say)
    return {f"plan{i}": planner.within(budget, harm).plan for i, budget in enumerate(budgets, start=1)}
