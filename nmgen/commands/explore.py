"""`nmgen explore`: which model on which accelerator, answered before anything is built."""

import argparse
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.console import tables
from nmgen.console.options import add_mem_latency, add_memory_bytes_per_cycle, bounded
from nmgen.console.progress import Say, stages
from nmgen.explore.front import OBJECTIVES as NAMED
from rtl.format import parse_pattern
from rtl.params import InputError
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    from nmgen.explore.candidates import Candidate, Shape
    from nmgen.explore.search import Search
    from nmgen.explore.workers import Workers

NAME = "explore"
HELP = (
    "Search candidates times configurations for the best pairs: accuracy, latency and area, before anything is built."
)
EXAMPLE = """\
nmgen explore minilm --patterns 4:8,2:8,1:8 --target ulx3s-85f --seq 128 -o build/explored
  nmgen explore build/minilm-idp --seq 32 --objectives accuracy,latency -o build/explored
  nmgen explore minilm --patterns 2:8 --seq 128 --space space.toml --trials 500 --seed 1 -o build/searched"""

RIGHT, FAILED = 0, 1
TRIALS = 6000
TARGET = "ulx3s-85f"
GROUPS_MAX = 32
OBJECTIVES = "accuracy,latency,area"
SHOWN = 20  # rows of the table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        metavar="MODEL",
        nargs="+",
        help="artefacts with nmgen prune's report.json beside them, or folders of these; with --patterns, one dense "
        "model: a Hugging Face folder or minilm",
    )
    parser.add_argument(
        "--patterns", metavar="N:M[,N:M…]", help="prune the model to each in one shot, by magnitude; 'dense' as it is"
    )
    parser.add_argument(
        "--plans",
        metavar="K",
        type=bounded("plans", 0, 32),
        default=0,
        help="of --patterns: K layer-wise plans beside them, of least harm within budgets of cycles (none)",
    )
    parser.add_argument(
        "--calibrate", metavar="FILE", type=Path, help="of --patterns: text or pictures to calibrate on"
    )
    parser.add_argument(
        "--kind", choices=("core", "engine"), default="core", help="whole programs, or linear layers alone (core)"
    )
    parser.add_argument("--target", metavar="BOARD", default=TARGET, help=f"ulx3s-85f or icesugar-pro ({TARGET})")
    parser.add_argument("--seq", metavar="TOKENS", help="tokens of a sequence, or several: 32,16; not for a ViT (128)")
    parser.add_argument(
        "--batch", metavar="B", type=bounded("batch", 1, 4096), default=1, help="as many times these sequences (1)"
    )
    add_mem_latency(parser)
    add_memory_bytes_per_cycle(parser)
    parser.add_argument(
        "--space",
        metavar="FILE.toml",
        type=Path,
        help="values of parameters to choose from, lines such as: rows = [4, 8]",
    )
    parser.add_argument(
        "--objectives",
        metavar="NAME[,NAME…]",
        default=OBJECTIVES,
        help=f"what counts, of {', '.join(NAMED)} ({OBJECTIVES})",
    )
    parser.add_argument(
        "--trials",
        metavar="PAIRS",
        type=bounded("trials", 1, 10**7),
        default=TRIALS,
        help=f"pairs looked at, at most: of more in the space, NSGA-II chooses ({TRIALS})",
    )
    parser.add_argument("--seed", metavar="SEED", type=bounded("seed", 0, 2**32 - 1), default=0, help="of that (0)")
    parser.add_argument(
        "--verify",
        metavar="K",
        type=bounded("verify", 1, 100),
        help="the best K of the front in simulation, synthesised, placed over seeds: half an hour or more for a core",
    )
    parser.add_argument("--jobs", metavar="N", type=bounded("jobs", 1, 1000), help="processes (as many as cores)")
    parser.add_argument(
        "--dask", metavar="ADDRESS", help="a scheduler whose workers count, and run tools: tcp://host:8786"
    )
    parser.add_argument(
        "-o", dest="out", metavar="DIR", type=Path, required=True, help="for report.html, front.json, points.csv"
    )


def run(args: argparse.Namespace) -> int:
    from nmgen.fpga.tools import ToolError
    from sim.bench.runner import SimulationError

    try:
        found = _explore(args)
    except (ToolError, SimulationError) as error:
        print(f"nmgen: {error}", file=sys.stderr)
        return FAILED
    except ModuleNotFoundError as missing:
        raise InputError(
            f"explore needs {missing.name}, which is not installed: pip install 'nmgen[explore]'"
        ) from None
    front = [one for one in found["points"] if one["front"]]
    if args.json:
        print(json.dumps({**found, "points": front}, indent=2))
    else:
        _show(args.out, found, front)
    wrong = [one for one in found.get("verified", ()) if not one["right"] or one["cycles"] != _cycles(found, one["id"])]
    for one in wrong:
        print(f"nmgen: design {one['id']} is not in simulation what was counted", file=sys.stderr)
    return FAILED if wrong else RIGHT


def _cycles(found: dict[str, Any], number: int) -> int:
    return int(found["points"][number]["exact_cycles"])


def _explore(args: argparse.Namespace) -> dict[str, Any]:
    from nmgen.cost.model import room_of
    from nmgen.explore.candidates import shape_of
    from nmgen.explore.front import parse_objectives
    from nmgen.explore.kept import Kept
    from nmgen.explore.result import write
    from nmgen.explore.search import Explorer, Search, facts
    from nmgen.explore.space import read_space, space_for
    from nmgen.explore.workers import open_workers
    from nmgen.fpga.targets import find_target

    objectives = parse_objectives(args.objectives)
    target = find_target(args.target)
    room = room_of(target)
    if args.space is not None:  # candidates may take long to make
        read_space(args.space, args.kind)
    with stages() as say, closing(open_workers(args.dask, args.jobs)) as workers:
        candidates = _candidates(args, say)
        shapes = [shape_of(one) for one in candidates]
        work, given = _work(args, candidates, shapes)
        lengths = (work.lengths or (shapes[0].tokens,)) * work.batch
        space = space_for(args.kind, target, given, lengths, args.space)
        search = Search(
            candidates=candidates,
            space=space,
            target=target,
            room=room,
            work=work,
            objectives=objectives,
            trials=args.trials,
            seed=args.seed,
        )
        model = Path(args.models[0]).resolve().name
        with closing(Kept(args.out)) as kept:
            found = facts(search, args.kind, model) | Explorer(search, kept, workers, say).run()
        say("writing the report")
        write(found, args.out)
        if args.verify:
            found |= {"verified": _verified(args, found, search, workers, say)}
            write(found, args.out)
    return found


def _verified(
    args: argparse.Namespace, found: dict[str, Any], search: "Search", workers: "Workers", say: Say
) -> list[dict[str, Any]]:
    from nmgen.explore.verify import best, verify

    candidates = {one.name: one for one in search.candidates}
    return verify(found, best(found, args.verify), candidates, search.work, search.target, args.out, workers, say)


def _candidates(args: argparse.Namespace, say: Say) -> "list[Candidate]":
    from nmgen.explore.candidates import Pruning, open_candidates, prune_candidates

    if args.patterns is None:
        for flag, value in (("calibrate", args.calibrate), ("plans", args.plans)):
            if value:
                raise InputError(f"--{flag} is for candidates that are made here: give --patterns")
        say("reading the candidates")
        return open_candidates(args.models)
    if len(args.models) > 1:
        raise InputError(f"--patterns are of one model, there are {len(args.models)}")
    patterns = [part.strip() for part in args.patterns.split(",")]
    for one in patterns:
        if one != "dense":
            parse_pattern(one)
        if patterns.count(one) > 1:
            raise InputError(f"pattern {one} is there twice, must be once")
    lengths = _lengths(args, args.models[0])
    asked = Pruning(patterns=patterns, plans=args.plans, lengths=lengths, calibrate=args.calibrate)
    return prune_candidates(args.models[0], asked, args.out, say)


def _lengths(args: argparse.Namespace, model: str) -> list[int]:
    """Tokens of the sequences; none where a model has its own."""
    from nmgen.families.known import Named

    return Named(model).family.compiles.lengths(args.models[0], args.seq, usual="128")


def _work(
    args: argparse.Namespace, candidates: "list[Candidate]", shapes: "list[Shape]"
) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """(what is counted, values of the parameters that follow from it and the model)."""
    from nmgen.explore.counting import Work

    lengths, shape = _lengths(args, str(candidates[0].file)), shapes[0]
    # Groups of the models' own sizes, and twice those: where N is the same, half as many groups are as many cycles.
    groups = {one.groups for one in shapes if one.groups} or {StaConfig.m}
    sizes = sorted({size for one in groups for size in (one, 2 * one) if size <= GROUPS_MAX})
    given = {"max_k": (shape.longest,), "m": tuple(sizes)}
    if args.kind == "core":
        given["max_k"] = (max(shape.longest, shape.tokens, *lengths, shape.spread),)
        given["hidden"] = (shape.hidden,)
    elif not lengths:  # linear layers do not know of their model
        lengths = [shape.tokens]
    work = Work(
        lengths=tuple(lengths),
        batch=args.batch,
        mem_latency=args.mem_latency,
        memory_bytes_per_cycle=args.memory_bytes_per_cycle,
    )
    return work, given


def _show(out: Path, found: dict[str, Any], front: list[dict[str, Any]]) -> None:
    order = {number: i for i, number in enumerate(found["front"])}
    rows = [
        (
            one["label"],
            one["candidate"],
            f"{one['accuracy']:.2f}" if one["accuracy"] > 1 else f"{one['accuracy']:.4f}",
            f"{one['cycles']:,}",
            f"{one['mhz']:.0f}",
            f"{one['ms']:.2f}",
            f"{one['luts']:,}",
            str(one["block_rams"]),
            str(one["multipliers"]),
            f"{one['utilisation']:.0%}",
            one["held_by"],
        )
        for one in sorted(front, key=lambda one: order[one["id"]])
    ]
    headings = ("design", "candidate", "accuracy", "cycles", "MHz", "ms", "LUTs", "block RAM", "multipliers", "work")
    more = f", {SHOWN} of which are here" if len(rows) > SHOWN else ""
    tables.show(
        (*headings, "held by"),
        rows[:: max(1, len(rows) // SHOWN)][:SHOWN],
        title=f"{out}: {len(found['points']):,} pairs, {len(rows)} on the front of "
        f"{', '.join(found['objectives'])}{more}",
        caption=f"accuracy: {found['metric']}; clock and cells by the cost model; the page is {out / 'report.html'}",
        left=("candidate", "held by"),
    )
    for one in found.get("verified", ()):
        point = found["points"][one["id"]]
        print(
            f"verified, {point['label']}, {point['candidate']}: {one['cycles']:,} cycles in simulation "
            f"({point['exact_cycles']:,} counted), {one['luts']:,} LUTs ({point['luts']:,} predicted), "
            f"{one['registers']:,} registers ({point['registers']:,}), {_mhz(one)} MHz ({point['mhz']:.0f})"
        )
    for note in found["notes"]:
        print(note)
    for one in found["left_out"]:
        such = f"the nearest is {one['nearest']}" if "nearest" in one else f"such as {one['example']}"
        print(f"left out, {one['reason']}: {one['count']:,} {one['of']}; {such}")


def _mhz(verified: dict[str, Any]) -> str:
    mhz = verified["mhz"]
    return f"{mhz['median']:.0f}" if mhz and mhz["median"] else "no"
