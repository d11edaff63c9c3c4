"""The half of `nmgen simulate` that runs programs on STA: sentences in, embeddings out; pictures in, classes out."""

import argparse
import json
import sys
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

from nmgen.console.files import written_whole
from nmgen.console.options import configuration_of
from nmgen.console.progress import stages
from nmgen.families.interface import Given
from nmgen.page.document import write_page
from nmgen.simulate.run_page import run_page
from rtl.params import TECHNOLOGY, InputError
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nmgen.compiler.program import Program
    from nmgen.simulate.run_program import Run

RIGHT, MISMATCH = 0, 1


def run(args: argparse.Namespace, manifest: dict[str, Any] | None) -> int:
    """Run a program.

    Parameters
    ----------
    manifest : of the folder of --rtl
    """
    from nmgen.compiler.program import load
    from nmgen.families.known import family_of_program
    from sim.bench.runner import SimulationError, check_simulator

    loaded = _chosen(args, load(args.file))
    loaded = loaded.each_with(config=_checked_configuration(args, loaded, manifest))
    with stages() as say:
        given = family_of_program(loaded).given(args, loaded, say)
        say("reference model" if args.reference else "")
        reference = _reference(args, given) if args.reference else None
    check_simulator(args.simulator)
    try:
        done = _run(args, given, manifest)
    except SimulationError as error:
        print(f"nmgen: {args.file}: {error}", file=sys.stderr)
        return MISMATCH
    _write(args, given, done)
    facts = report(args, done, given, reference)
    if args.html:
        rows = _facts(facts, given, args.text) if done.result else []
        write_page(args.html, run_page(facts, rows, args.timeline if done.result else None))
    if args.json:
        print(json.dumps(facts, indent=2))
    elif done.result:
        _show(facts, given, args.text)
    for message in done.wrong:
        print(f"nmgen: {args.file}: {message}", file=sys.stderr)
    return MISMATCH if done.wrong else RIGHT


def _chosen(args: argparse.Namespace, program: "Program") -> "Program":
    """The program of the density that is asked for; of one density alone, --density is the reference's."""
    if args.density is not None and not program.densities and args.reference is None:
        raise InputError(
            f"{args.file} is a program of one density: --density is of one of several, or of its --reference"
        )
    try:
        return program.at(args.density if program.densities else None)
    except InputError as error:
        raise InputError(f"{args.file}: {error}") from None


def _run(args: argparse.Namespace, given: Given, manifest: dict[str, Any] | None) -> "Run":
    """On the Verilog of a manifest, or on what is generated here."""
    from nmgen.simulate.run_program import run as run_program
    from nmgen.verilog.kept import kept

    with stages() as say:
        if manifest is None:
            say("Verilog")
            design = kept(given.program.config, args.build)
            sources, top = design.sources, design.top
        else:
            sources, top = manifest["sources"], manifest["top"]
        return run_program(
            given.program,
            given.memory,
            sources=sources,
            top=top,
            simulator=args.simulator,
            latency=args.mem_latency,
            seed=args.seed,
            stall=args.stall,
            build_dir=args.build,
            check_each=args.check_each,
            strict=manifest is None,
            progress=say,
        )


def _write(args: argparse.Namespace, given: Given, done: "Run") -> None:
    """The files that are asked for, where the run has ended as it must."""
    import numpy as np

    if done.result and args.output:
        with written_whole(args.output) as output, output.open("wb") as stream:
            np.save(stream, given.floats(done.outputs[given.result]))
    if done.result and args.timeline:
        from nmgen.simulate.timeline import draw

        title = f"{args.file.name}: {done.result.cycles:,} cycles, {done.utilisation:.1%} of the multipliers in use"
        with written_whole(args.timeline) as picture:
            draw(done.program, done.result.spans, title, picture)


def _checked_configuration(args: argparse.Namespace, program: "Program", manifest: dict[str, Any] | None) -> StaConfig:
    """That of the accelerator. What the flags say of it must be what the program is compiled for; what the array is
    made of, of which no program knows, is as generated, or as the flags say."""
    theirs = asdict(program.config)
    asked = configuration_of(args, StaConfig)
    built = program.config if manifest is None else StaConfig(**_of_a_program(args, program, manifest))
    technology = {}
    whole = args.preset is not None or args.config is not None
    for field in fields(StaConfig):
        value = getattr(asked, field.name)
        unsaid = value == field.default and field.name in TECHNOLOGY
        if getattr(args, field.name) is None and (unsaid or not whole):
            continue
        if field.name in TECHNOLOGY and manifest is None:
            technology[field.name] = value
        elif field.name in TECHNOLOGY:
            if value != getattr(built, field.name):
                raise InputError(
                    f"{field.name} is {value}, but {args.rtl} was generated with "
                    f"{field.name} = {getattr(built, field.name)}"
                )
        elif value != theirs[field.name]:
            raise InputError(
                f"{args.file}: the program is compiled for {field.name} = {theirs[field.name]}, "
                f"the accelerator has {value}"
            )
    return replace(built, **technology)


def _of_a_program(args: argparse.Namespace, program: "Program", manifest: dict[str, Any]) -> dict[str, Any]:
    """The parameters in the manifest of an accelerator that runs the program."""
    if manifest["kind"] != "sta":
        raise InputError(f"{args.rtl} holds an accelerator of kind {manifest['kind']}, a program needs kind sta")
    parameters: dict[str, Any] = manifest["parameters"]
    try:
        program.check(StaConfig(**parameters))
    except InputError as error:
        raise InputError(f"{args.file}: {error}") from None
    return parameters


def _reference(args: argparse.Namespace, given: Given) -> "NDArray[np.float32]":
    """What the float model gives of the same input, float32 [count, channels]."""
    try:
        import torch

        from nmgen.console.threads import one_thread
        from nmgen.families.known import Named

        model = Named(args.reference, args.density)
    except ModuleNotFoundError as missing:
        raise InputError(f"--reference needs {missing.name}: pip install 'nmgen[prune]'") from None
    family = model.family.compiles
    if not any(region.name == family.HOST for region in given.program.regions):
        raise InputError(f"{args.reference} is {family.TITLE}, {args.file} is a program of another kind")
    with one_thread(), torch.inference_mode():
        found = family.reference(args.reference, model.float_model, given)
    (channels,) = (one.channels for one in given.program.results if one.name == given.result)
    if found.shape[1] != channels:
        what = "embeddings" if given.result == "embedding" else given.result
        raise InputError(f"{args.reference} has {what} of {found.shape[1]} channels, {args.file} of {channels}")
    return found


def report(
    args: argparse.Namespace, done: "Run", given: Given, reference: "NDArray[np.float32] | None"
) -> dict[str, Any]:
    """Everything about a run, ready for JSON; reference : what the float model gives, None where none is asked for"""
    from nmgen.estimate.cycles import total
    from rtl.sta.isa import Op

    program, result = done.program, done.result
    facts: dict[str, Any] = {
        "program": str(args.file),
        "configuration": asdict(program.config),
        "simulator": args.simulator,
        "mem_latency": args.mem_latency,
        "seed": args.seed,
        "stall": args.stall,
        **given.facts,
        "instructions_compared": done.compared,
        "values_compared": done.values,
        "wrong": done.wrong,
    }
    if result is None:
        return facts
    logits = {one.name: one.scale for one in program.results if one.name == "logits"}
    facts |= {
        "cycles": result.cycles,
        "estimate": total(program, done.estimated)["cycles"],
        "utilisation": done.utilisation,
        "steps": result.steps,
        "waits_memory": result.waits_memory,
        "waits_drain": result.waits_drain,
        "bytes_read": result.bytes_read,
        "bytes_written": result.bytes_written,
        "cosine": None,
        **{name: (done.outputs[name][: given.count] * scale).tolist() for name, scale in logits.items()},
        "instructions": [
            {"name": name, "opcode": Op(one["opcode"]).name, "begin": begin, "end": end, "estimate": guess.cycles}
            for name, one, (begin, end), guess in zip(
                program.names, program.instructions, result.spans, done.estimated, strict=True
            )
        ],
        "output": str(args.output) if args.output else None,
        "timeline": str(args.timeline) if args.timeline else None,
    }
    return facts | _judged(given, given.floats(done.outputs[given.result]), reference)


def _judged(given: Given, found: "NDArray[np.float32]", reference: "NDArray[np.float32] | None") -> dict[str, Any]:
    """What results say, and how near the float model's they are."""
    import numpy as np

    facts: dict[str, Any] = {}
    classes = given.program.about.get("classes") if given.result == "logits" else None
    if classes is not None:
        facts["class"] = found.argmax(axis=1).tolist()
        facts["class_name"] = [classes[number] for number in facts["class"]] if classes else None
    if reference is not None:
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(reference, axis=1)
        facts["cosine"] = ((found * reference).sum(axis=1) / np.maximum(lengths, 1e-12)).tolist()
        if classes is not None:
            facts["reference_class"] = reference.argmax(axis=1).tolist()
    return facts


def _show(facts: dict[str, Any], given: Given, texts: list[str] | None) -> None:
    (name, program), *further = _facts(facts, given, texts)
    print(f"{name}: {program}")
    for name, value in further:
        print(f"  {name:12} {value}")


def _facts(facts: dict[str, Any], given: Given, texts: list[str] | None) -> list[tuple[str, str]]:
    """Names and values, the first of which is the program's."""
    c = facts["configuration"]
    waits = [facts[name] / facts["cycles"] for name in ("waits_memory", "waits_drain")]
    compared = f"{facts['instructions_compared']} instructions, " if facts["instructions_compared"] else ""
    judged = "not as the golden machine" if facts["wrong"] else "every bit as the golden machine"
    rows = [
        (facts["program"], f"{len(facts['instructions'])} instructions in {facts['simulator']}"),
        (
            "array",
            f"{c['rows']} x {c['cols']}, N = {c['n']}, M = {c['m']}, "
            f"{c['port_bytes']} bytes a beat, memory latency {facts['mem_latency']}",
        ),
        ("cycles", f"{facts['cycles']:,}, estimated {facts['estimate']:,}"),
        (
            "utilisation",
            f"{facts['utilisation']:.1%}; {waits[0]:.1%} of the cycles wait for memory, {waits[1]:.1%} for results",
        ),
        ("bytes", f"{facts['bytes_read']:,} read, {facts['bytes_written']:,} written"),
        ("compared", f"{compared}{facts['values_compared']:,} values: {judged}"),
    ]
    if shorter := _shorter(facts):
        rows.append(("tokens", shorter))
    rows += [_shown(facts, number, texts) for number in range(given.count)]
    return rows + [(name, facts[name]) for name in ("output", "timeline") if facts[name]]


def _shorter(facts: dict[str, Any]) -> str:
    """Why these are not the cycles that `nmgen estimate` says of the program; '' where they are."""
    given, compiled = facts.get("tokens", []), facts.get("tokens_compiled", [])
    if given == compiled:
        return ""
    return (
        f"{sum(given)} of the {sum(compiled)} that the program is compiled for: "
        "it takes fewer cycles than nmgen estimate says"
    )


def _shown(facts: dict[str, Any], number: int, texts: list[str] | None) -> tuple[str, str]:
    """What a sequence or a picture is called, and all about it on a line."""
    parts = [f"{facts['tokens'][number]} tokens"] if "tokens" in facts else []
    if "class" in facts:
        named = f" ({facts['class_name'][number]})" if facts["class_name"] else ""
        parts.append(f"class {facts['class'][number]}{named}")
    if facts["cosine"]:
        parts.append(f"cosine to float {facts['cosine'][number]:.4f}")
    if "reference_class" in facts:
        theirs = facts["reference_class"][number]
        parts.append("the same class" if theirs == facts["class"][number] else f"float says class {theirs}")
    if "logits" in facts:
        parts.append("logits " + " ".join(f"{value:.3f}" for value in facts["logits"][number]))
    what = facts["pictures"][number] if "pictures" in facts else texts[number] if texts else ""
    return "picture" if "pictures" in facts else "embedding", ", ".join(parts) + (f": {what}" if what else "")
