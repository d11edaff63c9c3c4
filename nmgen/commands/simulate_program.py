"""The half of `nmgen simulate` that runs programs on STA: sentences in, embeddings out."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from nmgen.configuration import configuration_of
from nmgen.files import written_whole
from rtl.params import InputError
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nmgen.program import Program
    from nmgen.run_program import Run
    from pruning.bert import Encoder

RIGHT, MISMATCH = 0, 1


def run(args: argparse.Namespace, manifest: dict[str, Any] | None, status: Callable[..., Any]) -> int:
    """Run a program.

    Parameters
    ----------
    manifest : of the folder of --rtl
    status : gives a context that tells what is going on
    """
    import numpy as np

    from nmgen.generate import generate
    from nmgen.program import load
    from nmgen.run_program import run as run_program
    from nmgen.sentences import fitted, ids_of_texts, read_ids
    from sim.runner import SimulationError, check_simulator

    loaded = load(args.file)
    _check(args, loaded, manifest)
    if "ids" not in [region.name for region in loaded.regions]:
        raise InputError(f"{args.file} takes no token ids")
    ids = ids_of_texts(loaded, args.text) if args.text else read_ids(args.ids)
    program, padded = fitted(loaded, ids)
    reference = _reference(args, ids) if args.reference else None
    if reference is not None and reference.shape[1] != program.about["hidden"]:
        raise InputError(
            f"{args.reference} has embeddings of {reference.shape[1]} channels, "
            f"{args.file} of {program.about['hidden']}"
        )
    check_simulator(args.simulator)
    try:
        with TemporaryDirectory() as scratch, status(quiet=args.json) as say:
            if manifest is None:
                say("generating the Verilog")
                design = generate(program.config, Path(scratch) / "verilog")
                sources, top = design.sources, design.top
            else:
                sources, top = manifest["sources"], manifest["top"]
            done = run_program(
                program,
                program.image(padded),
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
    facts = report(args, done, [len(row) for row in ids], reference)
    if done.result:
        if args.output:
            with written_whole(args.output) as output, output.open("wb") as stream:
                np.save(stream, _embeddings(done))
        if args.timeline:
            from nmgen.timeline import draw

            title = f"{args.file.name}: {done.result.cycles:,} cycles, {done.utilisation:.1%} of the multipliers in use"
            with written_whole(args.timeline) as picture:
                draw(program, done.result.spans, title, picture)
    if args.json:
        print(json.dumps(facts, indent=2))
    elif done.result:
        _show(facts, args.text)
    for message in done.wrong:
        print(f"nmgen: {args.file}: {message}", file=sys.stderr)
    return MISMATCH if done.wrong else RIGHT


def _check(args: argparse.Namespace, program: "Program", manifest: dict[str, Any] | None) -> None:
    """What the flags say of the accelerator must be what the program is compiled for."""
    theirs = asdict(program.config)
    asked = configuration_of(args, StaConfig)
    whole = args.preset is not None or args.config is not None
    for field in fields(StaConfig):
        value = getattr(asked, field.name)
        if (whole or getattr(args, field.name) is not None) and value != theirs[field.name]:
            raise InputError(
                f"{args.file}: the program is compiled for {field.name} = {theirs[field.name]}, "
                f"the accelerator has {value}"
            )
    if manifest is not None:
        if manifest["kind"] != "sta":
            raise InputError(f"{args.rtl} holds an accelerator of kind {manifest['kind']}, a program needs kind sta")
        try:
            program.check(StaConfig(**manifest["parameters"]))
        except InputError as error:
            raise InputError(f"{args.file}: {error}") from None


def _reference(args: argparse.Namespace, ids: list[list[int]]) -> "NDArray[np.float32]":
    """The float model's embeddings, of length 1: [sequences, hidden]."""
    try:
        import torch

        from nmgen.scores import open_forms
        from nmgen.threads import one_thread
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


def _embeddings(done: "Run") -> "NDArray[np.float32]":
    """Of length 1: [sequences, hidden]."""
    import numpy as np

    integers = done.outputs["embedding"].astype(np.float32)
    lengths = np.linalg.norm(integers, axis=1, keepdims=True)
    embeddings: NDArray[np.float32] = integers / np.maximum(lengths, 1)
    return embeddings


def report(
    args: argparse.Namespace, done: "Run", lengths: list[int], reference: "NDArray[np.float32] | None"
) -> dict[str, Any]:
    """Everything about a run, ready for JSON."""
    from nmgen.estimate import Constants, estimate, total
    from rtl.sta.isa import Op

    program, result = done.program, done.result
    estimated = estimate(program, Constants(memory=args.mem_latency))
    facts: dict[str, Any] = {
        "program": str(args.file),
        "configuration": asdict(program.config),
        "simulator": args.simulator,
        "mem_latency": args.mem_latency,
        "seed": args.seed,
        "stall": args.stall,
        "tokens": lengths,
        "instructions_compared": done.compared,
        "values_compared": done.values,
        "wrong": done.wrong,
    }
    if result is None:
        return facts
    logits = {one.name: one.scale for one in program.results if one.name == "logits"}
    facts |= {
        "cycles": result.cycles,
        "estimate": total(program, estimated)["cycles"],
        "utilisation": done.utilisation,
        "steps": result.steps,
        "waits_memory": result.waits_memory,
        "waits_drain": result.waits_drain,
        "bytes_read": result.bytes_read,
        "bytes_written": result.bytes_written,
        "cosine": None,
        **{name: (done.outputs[name] * scale).tolist() for name, scale in logits.items()},
        "instructions": [
            {"name": name, "opcode": Op(one["opcode"]).name, "begin": begin, "end": end, "estimate": guess.cycles}
            for name, one, (begin, end), guess in zip(
                program.names, program.instructions, result.spans, estimated, strict=True
            )
        ],
        "output": str(args.output) if args.output else None,
        "timeline": str(args.timeline) if args.timeline else None,
    }
    if reference is not None:
        embeddings = _embeddings(done)
        if reference.shape != embeddings.shape:
            raise InputError(
                f"the reference's embeddings have {reference.shape[1]} channels, not {embeddings.shape[1]}"
            )
        facts["cosine"] = [float(cosine) for cosine in (embeddings * reference).sum(axis=1)]
    return facts


def _show(facts: dict[str, Any], texts: list[str] | None) -> None:
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
    for number, tokens in enumerate(facts["tokens"]):
        parts = [f"{tokens} tokens"]
        if facts["cosine"]:
            parts.append(f"cosine to float {facts['cosine'][number]:.4f}")
        if "logits" in facts:
            parts.append("logits " + " ".join(f"{value:.3f}" for value in facts["logits"][number]))
        text = f": {texts[number]}" if texts else ""
        print(f"  embedding    {', '.join(parts)}{text}")
    for name in ("output", "timeline"):
        if facts[name]:
            print(f"  {name:12} {facts[name]}")
