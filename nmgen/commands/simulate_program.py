"""The half of `nmgen simulate` that runs programs on STA: sentences in, embeddings out; pictures in, classes out."""

import argparse
import json
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from nmgen.console.files import written_whole
from nmgen.console.options import configuration_of
from nmgen.console.progress import Say, stages
from rtl.params import TECHNOLOGY, InputError
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nmgen.compiler.program import Program
    from nmgen.simulate.run_program import Run
    from pruning.families.bert.model import Encoder

RIGHT, MISMATCH = 0, 1


def run(args: argparse.Namespace, manifest: dict[str, Any] | None) -> int:
    """Run a program.

    Parameters
    ----------
    manifest : of the folder of --rtl
    """
    import numpy as np

    from nmgen.compiler.program import load
    from nmgen.simulate.run_program import run as run_program
    from nmgen.verilog.bundle import generate
    from sim.bench.runner import SimulationError, check_simulator

    loaded = load(args.file)
    loaded = replace(loaded, config=_checked_configuration(args, loaded, manifest))
    with stages() as say:
        given = _pictures(args, loaded, say) if loaded.takes_pictures else _sentences(args, loaded, say)
    program = given.program
    check_simulator(args.simulator)
    try:
        with TemporaryDirectory() as scratch, stages() as say:
            if manifest is None:
                say("Verilog")
                design = generate(program.config, Path(scratch) / "verilog")
                sources, top = design.sources, design.top
            else:
                sources, top = manifest["sources"], manifest["top"]
            done = run_program(
                program,
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
    except SimulationError as error:
        print(f"nmgen: {args.file}: {error}", file=sys.stderr)
        return MISMATCH
    facts = report(args, done, given)
    if done.result:
        if args.output:
            with written_whole(args.output) as output, output.open("wb") as stream:
                np.save(stream, given.found(done))
        if args.timeline:
            from nmgen.simulate.timeline import draw

            title = f"{args.file.name}: {done.result.cycles:,} cycles, {done.utilisation:.1%} of the multipliers in use"
            with written_whole(args.timeline) as picture:
                draw(program, done.result.spans, title, picture)
    if args.json:
        print(json.dumps(facts, indent=2))
    elif done.result:
        _show(facts, given, args.text)
    for message in done.wrong:
        print(f"nmgen: {args.file}: {message}", file=sys.stderr)
    return MISMATCH if done.wrong else RIGHT


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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Given:
    """What a program gets.

    Parameters
    ----------
    program : as it runs
    memory : its image with the input in it
    count : sequences or pictures; places that are left over count for nothing
    facts : of the input, for the report
    result : the program's result that stands for a sequence or a picture: embedding, compared at length 1, or logits
    reference : the same of the float model, float32 [count, channels]; None where none is asked for
    """

    program: "Program"
    memory: "NDArray[np.uint8]"
    count: int
    facts: dict[str, Any]
    result: str
    reference: "NDArray[np.float32] | None"

    @property
    def unit(self) -> bool:
        return self.result == "embedding"

    def found(self, done: "Run") -> "NDArray[np.float32]":
        """float32 [count, channels]: embeddings of length 1, or logits."""
        import numpy as np

        (scale,) = (one.scale for one in self.program.results if one.name == self.result)
        values = done.outputs[self.result][: self.count].astype(np.float32)
        if self.unit:
            lengths = np.linalg.norm(values, axis=1, keepdims=True)
            return np.asarray(values / np.maximum(lengths, 1), np.float32)
        return np.asarray(values * scale, np.float32)


def _sentences(args: argparse.Namespace, loaded: "Program", say: Say) -> _Given:
    from nmgen.models.sentences import fitted, ids_of_texts, read_ids

    if args.image:
        raise InputError(f"{args.file} is a program for text: it takes no --image")
    if args.text is None and args.ids is None:
        raise InputError(f"{args.file} is a program for text: give --text or --ids (see nmgen simulate --help)")
    say("text")
    ids = ids_of_texts(loaded, args.text) if args.text else read_ids(args.ids)
    program, padded = fitted(loaded, ids)
    say("reference model" if args.reference else "")
    return _Given(
        program=program,
        memory=program.image(padded),
        count=len(ids),
        facts={
            "tokens": [len(row) for row in ids],
            "tokens_compiled": [place.tokens for place in loaded.sequences],
        },
        result="embedding",
        reference=_checked(args, program, "embedding", _embeddings_of(args, ids)) if args.reference else None,
    )


def _pictures(args: argparse.Namespace, program: "Program", say: Say) -> _Given:
    from nmgen.models.pictures import fitted, pictures_for

    for name in ("text", "ids"):
        if getattr(args, name) is not None:
            raise InputError(f"{args.file} is a program for pictures: it takes no --{name}")
    if args.image is None:
        raise InputError(f"{args.file} is a program for pictures: give --image (see nmgen simulate --help)")
    pictures, names = pictures_for(program, args.image)
    say("reference model" if args.reference else "")
    result = program.results[0].name
    return _Given(
        program=program,
        memory=program.image_of_patches(fitted(program, pictures)),
        count=len(names),
        facts={"pictures": names},
        result=result,
        reference=_checked(args, program, result, _logits_of(args, program, pictures)) if args.reference else None,
    )


def _embeddings_of(args: argparse.Namespace, ids: list[list[int]]) -> "NDArray[np.float32]":
    """The float model's embeddings, of length 1: [sequences, hidden]."""
    try:
        import torch

        from nmgen.console.threads import one_thread
        from nmgen.models.scores import open_forms
    except ModuleNotFoundError as missing:
        raise InputError(f"--reference needs {missing.name}: pip install 'nmgen[prune]'") from None
    with one_thread(), torch.inference_mode():
        encoder = cast("Encoder", open_forms(args.reference)["float"]).eval()
        if args.text:
            return encoder.embed(args.text).numpy()
        over = max(map(max, ids))
        if over >= encoder.shape.vocabulary:
            raise InputError(f"token id is {over}, the reference has {encoder.shape.vocabulary}")
        means = torch.stack([encoder(torch.tensor(row)).mean(dim=0) for row in ids])
        return torch.nn.functional.normalize(means, dim=1).numpy()


def _logits_of(args: argparse.Namespace, program: "Program", pictures: "NDArray[np.uint8]") -> "NDArray[np.float32]":
    """The float model's logits, or states of the class token of length 1: [pictures, channels]."""
    try:
        import torch

        from nmgen.console.threads import one_thread
        from nmgen.models.vits import open_vit
    except ModuleNotFoundError as missing:
        raise InputError(f"--reference needs {missing.name}: pip install 'nmgen[prune]'") from None
    with one_thread(), torch.inference_mode():
        model = open_vit(args.reference)
        for name in ("channels", "image"):
            if (theirs := getattr(model.shape, name)) != program.about[name]:
                raise InputError(f"{args.reference} has {name} = {theirs}, {args.file} {program.about[name]}")
        logits = model(model.pixels.floats(torch.from_numpy(pictures)))
        return (logits if model.shape.labels else torch.nn.functional.normalize(logits, dim=1)).numpy()


def _checked(
    args: argparse.Namespace, program: "Program", result: str, reference: "NDArray[np.float32]"
) -> "NDArray[np.float32]":
    (channels,) = (one.channels for one in program.results if one.name == result)
    if reference.shape[1] != channels:
        what = "embeddings" if result == "embedding" else result
        raise InputError(f"{args.reference} has {what} of {reference.shape[1]} channels, {args.file} of {channels}")
    return reference


def report(args: argparse.Namespace, done: "Run", given: _Given) -> dict[str, Any]:
    """Everything about a run, ready for JSON."""
    import numpy as np

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
    found = given.found(done)
    if program.takes_pictures and not given.unit:
        facts["class"] = found.argmax(axis=1).tolist()
        names = program.about["classes"]
        facts["class_name"] = [names[number] for number in facts["class"]] if names else None
    if given.reference is not None:
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(given.reference, axis=1)
        facts["cosine"] = ((found * given.reference).sum(axis=1) / np.maximum(lengths, 1e-12)).tolist()
        if program.takes_pictures and not given.unit:
            facts["reference_class"] = given.reference.argmax(axis=1).tolist()
    return facts


def _show(facts: dict[str, Any], given: _Given, texts: list[str] | None) -> None:
    c = facts["configuration"]
    waits = [facts[name] / facts["cycles"] for name in ("waits_memory", "waits_drain")]
    compared = f"{facts['instructions_compared']} instructions, " if facts["instructions_compared"] else ""
    print(
        f"{facts['program']}: {len(facts['instructions'])} instructions in {facts['simulator']}\n"
        f"  array        {c['rows']} x {c['cols']}, N = {c['n']}, M = {c['m']}, "
        f"{c['port_bytes']} bytes a beat, memory latency {facts['mem_latency']}\n"
        f"  cycles       {facts['cycles']:,}, estimated {facts['estimate']:,}\n"
        f"  utilisation  {facts['utilisation']:.1%}; {waits[0]:.1%} of the cycles wait for memory, "
        f"{waits[1]:.1%} for results\n"
        f"  bytes        {facts['bytes_read']:,} read, {facts['bytes_written']:,} written\n"
        f"  compared     {compared}{facts['values_compared']:,} values: "
        + ("not as the golden machine" if facts["wrong"] else "every bit as the golden machine")
    )
    if shorter := _shorter(facts):
        print(f"  tokens       {shorter}")
    for number in range(given.count):
        print(f"  {_shown(facts, number, texts)}")
    for name in ("output", "timeline"):
        if facts[name]:
            print(f"  {name:12} {facts[name]}")


def _shorter(facts: dict[str, Any]) -> str:
    """Why these are not the cycles that `nmgen estimate` says of the program; '' where they are."""
    given, compiled = facts.get("tokens", []), facts.get("tokens_compiled", [])
    if given == compiled:
        return ""
    return (
        f"{sum(given)} of the {sum(compiled)} that the program is compiled for: "
        "it takes fewer cycles than nmgen estimate says"
    )


def _shown(facts: dict[str, Any], number: int, texts: list[str] | None) -> str:
    """A sequence or a picture on a line."""
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
    return f"{'picture' if 'pictures' in facts else 'embedding':12} {', '.join(parts)}" + (f": {what}" if what else "")
