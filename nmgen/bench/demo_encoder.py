"""The demo's whole encoder: text to embedding on the generated Verilog, each instruction against the golden machine."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from nmgen.compiler.program import Program
from nmgen.console.files import written_whole
from nmgen.console.threads import one_thread
from nmgen.families.bert.compiler import compile_encoder
from nmgen.families.bert.sentences import ids_of_texts
from nmgen.simulate.run_program import run
from nmgen.simulate.timeline import draw
from nmgen.verilog.bundle import generate
from rtl.params import InputError
from rtl.sta.params import StaConfig


def encoded(
    artefact: Path,
    out: Path,
    config: StaConfig,
    tokens: int,
    sentences: Sequence[str],
    *,
    latency: int,
    build_dir: Path,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Two neighbouring sentences, which have so many tokens together, through an artefact's model; facts of it.

    Leaves the program out/encoder.nmp, the Verilog out/sta/, and the picture out/timeline.png.
    """
    progress("compiling")
    program, text, ids = _compiled(artefact, config, tokens, sentences)
    program.save(out / "encoder.nmp")
    progress("generating the Verilog")
    design = generate(config, out / "sta")
    done = run(
        program,
        program.image(ids),
        sources=design.sources,
        top=design.top,
        simulator="verilator",
        latency=latency,
        seed=0,
        stall=False,
        build_dir=build_dir,
        check_each=True,
        progress=progress,
    )
    facts: dict[str, Any] = {
        "text": text,
        "tokens": tokens,
        "instructions": len(program.names),
        "values": done.values,
        "wrong": done.wrong,
    }
    if done.result is None:
        return facts
    title = (
        f"{tokens} tokens, {program.about['layers']} layers, {config.rows}×{config.cols} elements, N = {config.n}, "
        f"M = {config.m}: {done.result.cycles:,} cycles, {done.utilisation:.1%} of the multipliers in use"
    )
    with written_whole(out / "timeline.png") as picture:
        draw(program, done.result.spans, title, picture)
    return facts | {
        "cycles": done.result.cycles,
        "utilisation": done.utilisation,
        "bytes_read": done.result.bytes_read,
        "bytes_written": done.result.bytes_written,
        "cosine": _cosine(artefact, text, done.outputs["embedding"][0]),
    }


def _compiled(
    artefact: Path, config: StaConfig, tokens: int, sentences: Sequence[str]
) -> tuple[Program, str, list[list[int]]]:
    from pruning.families.bert.parameters import integer_parameters
    from pruning.files.artefact import read

    contents = read(artefact)
    assert contents.model  # the demo has trained the whole model
    with one_thread():
        program = compile_encoder(integer_parameters(contents), config, [tokens], dict(contents.model.about))
    program = replace(program, tokenizer=contents.model.tokenizer)
    for pair in pairwise(sentences):
        text = " ".join(pair)
        (ids,) = ids_of_texts(program, [text])
        if len(ids) == tokens:
            return program, text, [ids]
    raise InputError(f"no two neighbouring sentences have {tokens} tokens")


def _cosine(artefact: Path, text: str, embedding: Any) -> float:
    """To the embedding of the artefact's model in float."""
    import numpy as np

    from nmgen.families.known import Named

    with one_thread():
        reference = Named(str(artefact)).float_model.embed([text])[0].numpy().astype(np.float64)
    return float(reference @ embedding / np.linalg.norm(reference) / np.linalg.norm(embedding.astype(np.float64)))
