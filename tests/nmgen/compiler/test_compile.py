"""Compiled programs: the machine computes what the integer encoder does, instruction after instruction."""

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nmgen.cli import main
from nmgen.compiler import program as programs
from nmgen.compiler.memory_map import Sizes, plan_store
from nmgen.compiler.program import Program
from nmgen.estimate.cycles import Constants, estimate, total
from nmgen.families.bert.compiler import compile_encoder
from nmgen.families.bert.sentences import fitted
from pruning.families.bert.integer import IntegerEncoder
from pruning.families.bert.parameters import integer_parameters
from pruning.files.artefact import Artefact, save
from rtl.params import SHIFT_MAX, InputError, ceil_div, round_up
from rtl.sta.isa import Columns
from rtl.sta.params import StaConfig
from sim.golden.machine import Machine
from tests.nmgen.encoders import artefact, random_ids
from tests.nmgen.steps import compare_steps
from tests.nmgen.test_cli import fails
from tests.pruning.samples import write_model

SMALL = StaConfig(n=2, m=8, rows=4, cols=4, drain=4, port_bytes=4, max_tokens=32, max_k=64, hidden=48, store_words=512)
WIDE = StaConfig(n=2, m=4, rows=2, cols=8, drain=8, port_bytes=16, max_tokens=40, max_k=64, hidden=48, store_words=512)
ODD = StaConfig(n=3, m=16, rows=3, cols=6, drain=4, port_bytes=2, max_tokens=32, max_k=80, hidden=41, store_words=512)
TINY = StaConfig(n=1, m=2, rows=1, cols=1, drain=1, port_bytes=1, max_tokens=20, max_k=48, hidden=24, store_words=1500)


def check_every_step(
    config: StaConfig, whole: Artefact, lengths: list[int], seed: int = 0, *, narrow_words: bool = False
) -> Program:
    """Runs the compiled program in a machine full of rubbish, and compares all that its instructions leave behind."""
    encoder = IntegerEncoder(whole, narrow_words=narrow_words)
    program = compile_encoder(encoder.parameters, config, lengths)
    ids = random_ids(seed, lengths)
    wanted = [{step.name: step for step in encoder.steps(torch.tensor(row))} for row in ids]
    machine = Machine(config, program.image(ids), fill=np.random.default_rng(seed), address=program.address)
    compare_steps(program, machine, wanted)
    means = torch.stack([encoder.means(torch.tensor(row)) for row in ids])
    assert np.array_equal(program.result("embedding", machine.memory), means.numpy())
    if encoder.classes:
        logits = torch.stack([encoder.logits(torch.tensor(row)) for row in ids]).numpy()
        scale = next(result.scale for result in program.results if result.name == "logits")
        assert np.allclose(program.result("logits", machine.memory) * scale, logits)
    return program


@pytest.mark.parametrize(
    ("config", "sizes", "lengths"),
    [
        (SMALL, {"hidden": 24, "heads": 3, "inner": 40}, [9]),  # heads of one group each
        (SMALL, {"hidden": 24, "heads": 3, "inner": 40, "pattern": "2:8", "classes": 3}, [9, 1, 6]),
        (SMALL, {"hidden": 24, "heads": 2, "inner": 40, "pattern": "2:8"}, [5, 4]),  # groups across heads
        (SMALL, {"hidden": 18, "heads": 2, "inner": 23, "pattern": "1:4"}, [7]),
        (WIDE, {"hidden": 48, "heads": 4, "inner": 64, "pattern": "2:4"}, [16, 15]),
        (WIDE, {"hidden": 16, "heads": 2, "inner": 33, "pattern": "3:8", "classes": 5}, [1]),
        (ODD, {"hidden": 40, "heads": 4, "inner": 56, "pattern": "3:16"}, [10, 2]),
        (ODD, {"hidden": 41, "heads": 1, "inner": 17}, [11]),
        (TINY, {"hidden": 18, "heads": 3, "inner": 20, "pattern": "1:2", "layers": 1}, [5, 3]),
        (StaConfig(), {"hidden": 24, "heads": 3, "inner": 40, "pattern": "2:8"}, [32, 16, 8]),
    ],
)
def test_machine_equals_the_integer_encoder(config: StaConfig, sizes: dict, lengths: list[int]) -> None:
    check_every_step(config, artefact(**sizes), lengths)


LONG = replace(SMALL, max_tokens=240, max_k=160, store_words=2048)
LENGTHS = [1, 2, 7, 33, 127, 128]


@pytest.mark.parametrize("tokens", LENGTHS)
def test_lengths(tokens: int) -> None:
    check_every_step(LONG, artefact(24, 3, 40, pattern="2:8", positions=128), [tokens])


def test_unequal_lengths_together_equal_each_alone() -> None:
    p, lengths = integer_parameters(artefact(24, 3, 40, classes=3, positions=128)), [33, 1, 128, 2, 7]
    ids = random_ids(5, lengths)

    def results(rows: list[list[int]]) -> list[np.ndarray]:
        program = compile_encoder(p, LONG, [len(row) for row in rows])
        machine = Machine(LONG, program.image(rows), address=program.address)
        machine.finish()
        return [program.result(name, machine.memory) for name in ("embedding", "logits")]

    together, alone = results(ids), [results([row]) for row in ids]
    for number, found in enumerate(together):
        assert np.array_equal(found, np.concatenate([one[number] for one in alone]))


def test_results_are_not_all_alike() -> None:
    encoder = IntegerEncoder(artefact(24, 3, 40))
    means = torch.stack([encoder.means(torch.tensor(row)) for row in random_ids(0, [9, 9])]).float()
    assert (means.abs() < 32767).all()
    assert means.std(dim=1).min() > 100
    assert (means[0] - means[1]).abs().max() > 100


def test_feed_forward_in_blocks_of_tokens() -> None:
    sizes = {"hidden": 16, "heads": 2, "inner": 64}
    whole = check_every_step(SMALL, artefact(**sizes), [17, 5])
    assert not whole.notes
    small = replace(SMALL, store_words=60)
    program = check_every_step(small, artefact(**sizes), [17, 5])
    assert program.notes == (
        "the store holds what is between the feed-forward layers for 4 of 7 token tiles: "
        "their weights are read 2 times",
    )
    assert sum("intermediate.dense" in name for name in program.names) == 4
    assert program.region("encoder.layer.1.output.dense").size == whole.region("encoder.layer.1.output.dense").size


# --- what the store does not hold at a time --------------------------------------------------------------------------

ONE_AT_A_TIME = "the store holds keys and values of 1 of 3 heads at a time"
SCORES_OF_4 = "the store holds the scores of 4 of 7 token tiles: keys and values are copied 2 times"


def spills(tiles: int, of: int, size: int, times: int) -> str:
    return (
        f"the store holds the activations of {tiles} of {of} token tiles: {size:,} bytes of each layer go to memory "
        f"and come back, weights are read {times} times"
    )


@pytest.mark.parametrize(
    ("store_words", "lengths", "notes"),
    [
        (91, [25], ()),
        (90, [25], (ONE_AT_A_TIME,)),
        (83, [25], (ONE_AT_A_TIME, SCORES_OF_4)),
        (71, [25], (spills(4, 7, 1200, 2),)),
        (65, [9, 1, 6], (ONE_AT_A_TIME,)),
        (53, [9, 1, 6], (spills(3, 6, 1056, 3),)),
        (33, [25], (ONE_AT_A_TIME, spills(3, 7, 1200, 3))),
        (10, [9, 1, 6], (ONE_AT_A_TIME, spills(1, 6, 1056, 6))),
    ],
)
def test_a_small_store(store_words: int, lengths: list[int], notes: tuple[str, ...]) -> None:
    """Any that holds a head's keys and values and a token tile computes the same bits."""
    sizes = {"hidden": 24, "heads": 3, "inner": 40, "pattern": "2:8", "classes": 3}
    program = check_every_step(replace(SMALL, store_words=store_words), artefact(**sizes), lengths)
    assert program.notes == notes


@pytest.mark.parametrize(
    ("config", "sizes", "lengths", "least"),
    [
        # No group of fewer heads ends with a column tile of six.
        (ODD, {"hidden": 40, "heads": 4, "inner": 56, "pattern": "3:16"}, [20, 2], 48),
        (WIDE, {"hidden": 48, "heads": 4, "inner": 64, "pattern": "2:4"}, [16, 15], 20),
        (TINY, {"hidden": 18, "heads": 3, "inner": 20, "pattern": "1:2", "layers": 1}, [5, 3], 42),
        # Scores wider than the operand.
        (replace(SMALL, max_tokens=40), {"hidden": 16, "heads": 2, "inner": 24, "layers": 1}, [32], 21),
    ],
)
def test_every_store_that_is_enough(config: StaConfig, sizes: dict, lengths: list[int], least: int) -> None:
    """From one that holds all down to the least, a word less than was used each time; it never runs over."""
    words = config.store_words
    while words >= least:
        program = check_every_step(replace(config, store_words=words), artefact(**sizes), lengths, seed=words)
        assert program.about["store_words_used"] <= words
        words = program.about["store_words_used"] - 1
    assert words == least - 1
    with pytest.raises(InputError, match=f"one take {least}: 1 too many \\(store_words\\)"):
        compile_encoder(integer_parameters(artefact(**sizes)), replace(config, store_words=words), lengths)


def test_the_plan_fits_the_store() -> None:
    """Of any size; no region lies on another that is alive, and blocks are as few as there is room for."""
    sizes = Sizes(tiles=7, sequence_tiles=5, keys=20, hidden=24, inner=200, heads=3, head_pitch=8)
    seen = set()
    for store_words in range(28, 260):
        plan = plan_store(replace(SMALL, store_words=store_words), sizes)
        held = plan.query_tiles if plan.spilled else 7
        kept = 5 if plan.spilled else 7
        alive = [
            (plan.scores, plan.score_words),
            (plan.queries.base, plan.queries.pitch * held),
            (plan.keys.base, plan.keys.pitch * kept),
            (plan.values.base, plan.values.pitch * kept),
        ]
        if plan.heads < 3 and not plan.spilled:
            alive.append((plan.operand.base, plan.operand.pitch * held))
        feed_forward = [
            (plan.operand.base, plan.operand.pitch * held),
            (plan.inner.base, plan.inner.pitch * plan.inner_tiles),
        ]
        for regions in (alive, feed_forward, [(plan.context.base, plan.context.pitch * held)]):
            for (begin, size), (after, _) in pairwise([*sorted(regions), (plan.words, 0)]):
                assert begin + size <= after, store_words
        assert plan.words <= store_words
        assert plan.score_words >= 3 * plan.query_tiles, "of a head"
        room = (store_words - plan.inner.base) // plan.inner.pitch  # token tiles
        assert -(-held // plan.inner_tiles) == -(-held // min(room, held)), store_words
        seen.add((plan.spilled, plan.heads < 3))
    assert len(seen) == 4
    assert plan.score_words == 3 * 5 * 3, "of as many heads as an instruction may have"


def test_shorter_texts_of_a_program_in_blocks() -> None:
    """Of every length, for two sequences whose queries come in blocks: those beyond the text are not read."""
    whole = artefact(24, 3, 40, pattern="2:8", classes=3)
    program = compile_encoder(integer_parameters(whole), replace(SMALL, store_words=18), [13, 5])
    assert program.about["query_tokens"] == 8
    encoder = IntegerEncoder(whole)
    for tokens in range(1, 14):
        ids = random_ids(tokens, [tokens, min(tokens, 5)])
        shorter, padded = fitted(program, ids)
        attention = [one for one in shorter.instructions if one.get("columns") in (Columns.KEYS, Columns.VALUES)]
        assert max(one["tokens"] for one in attention) <= program.about["query_tokens"]
        machine = Machine(program.config, shorter.image(padded), address=program.address)
        machine.finish()
        means = torch.stack([encoder.means(torch.tensor(row)) for row in ids])
        assert np.array_equal(program.result("embedding", machine.memory), means.numpy()), tokens


@pytest.mark.parametrize(
    ("sizes", "note"),
    [
        ({"hidden": 24, "heads": 3, "inner": 40, "pattern": "2:8"}, ""),
        ({"hidden": 24, "heads": 3, "inner": 40, "pattern": "1:4"}, "query is 1:4, it is packed as 2:8"),
        (
            {"hidden": 24, "heads": 2, "inner": 40, "pattern": "2:8"},
            "attention.output.dense is 2:8, it is packed as 4:8",
        ),
    ],
)
def test_other_patterns_are_told(sizes: dict, note: str) -> None:
    notes = compile_encoder(integer_parameters(artefact(**sizes)), SMALL, [8]).notes
    assert any(note in one for one in notes) if note else not notes


@pytest.mark.parametrize(
    ("change", "lengths", "message"),
    [
        ({"max_tokens": 16}, [9, 6], "tokens of all sequences: 18, the configuration has 16: 2 too many (max_tokens)"),
        ({"hidden": 20}, [9], "hidden channels: 24, the configuration has 20: 4 too many (hidden)"),
        ({"max_k": 32}, [9], "(intermediate): 40, the configuration has 32: 8 too many (max_k)"),
        ({"max_k": 32, "max_tokens": 64}, [31, 33], "33 tokens, the model takes 1 to 32"),
        (
            {"store_words": 9},
            [9],
            "over 3 token tiles of 4 and a feed-forward block of one take 10: 1 too many (store_words)",
        ),
        (
            {"store_words": 5},
            [1],
            "over 1 token tiles of 4 and a feed-forward block of one take 8: 3 too many (store_words)",
        ),
        ({}, [], "must be at least 1"),
        ({}, [0], "0 tokens"),
    ],
)
def test_what_does_not_fit_is_told(change: dict[str, int], lengths: list[int], message: str) -> None:
    parameters = integer_parameters(artefact(24, 3, 40))
    config = replace(SMALL, **{"store_words": 48, **change})
    compile_encoder(parameters, SMALL, [9])
    with pytest.raises(InputError, match=re.escape(message)):
        compile_encoder(parameters, config, lengths)


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled() -> Program:
    return compile_encoder(integer_parameters(artefact(24, 3, 40, classes=3)), SMALL, [5, 9], {"model": "small"})


def test_the_same_bytes_and_back(compiled: Program, tmp_path: Path) -> None:
    again = compile_encoder(integer_parameters(artefact(24, 3, 40, classes=3)), SMALL, [5, 9], {"model": "small"})
    assert again.to_bytes() == compiled.to_bytes()
    compiled.save(tmp_path / "P.nmp")
    read = programs.load(tmp_path / "P.nmp")
    assert read.instructions == compiled.instructions
    for part in ("config", "memory", "address", "names", "regions", "sequences", "results", "notes", "about"):
        assert getattr(read, part) == getattr(compiled, part), part


def test_regions_are_aligned_and_apart(compiled: Program) -> None:
    end = 0
    for region in compiled.regions:
        assert region.address % 64 == 0
        assert region.address >= end
        end = region.end
    assert end <= len(compiled.memory)


def test_damage_is_refused(compiled: Program) -> None:
    data = compiled.to_bytes()
    rng = np.random.default_rng(0)
    places = [*range(16), *rng.integers(0, len(data), 60).tolist(), len(data) - 1]
    for place in places:
        for bit in (0, 6):
            bad = bytearray(data)
            bad[place] ^= 1 << bit
            with pytest.raises(InputError):
                programs.from_bytes(bytes(bad))
    for size in (0, 7, 8, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(InputError, match=r"truncated|no program"):
            programs.from_bytes(data[:size])
    with pytest.raises(InputError, match="truncated"):
        programs.from_bytes(data + b"x")


def said_of(data: bytes) -> str:
    """Of a file's bytes; nothing of a good one's."""
    try:
        programs.from_bytes(data)
    except InputError as error:
        return str(error)
    return ""


def test_a_changed_bit_of_the_memory_is_told(compiled: Program) -> None:
    data = bytearray(compiled.to_bytes())
    assert said_of(bytes(data)) == ""
    data[-64] ^= 1
    assert said_of(bytes(data)).startswith("damaged: the checksum")


def test_for_another_configuration(compiled: Program) -> None:
    compiled.check(SMALL)
    with pytest.raises(InputError, match="the program is compiled for hidden = 48, the accelerator has 64"):
        compiled.check(replace(SMALL, hidden=64))


def test_ids_that_do_not_fit(compiled: Program) -> None:
    with pytest.raises(InputError, match="1 sequences, the program is compiled for 2"):
        compiled.image([[1] * 5])
    with pytest.raises(InputError, match="a sequence of 4 tokens, the program is compiled for 9"):
        compiled.image([[1] * 5, [1] * 4])
    with pytest.raises(InputError, match="token id is 13, must be below 13"):
        compiled.image([[1] * 5, [13] * 9])


# --- several lengths in one memory -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def several() -> Program:
    """For two sequences of 12, 7 and 3 tokens each."""
    p = integer_parameters(artefact(24, 3, 40, classes=3))
    return compile_encoder(p, SMALL, [12, 12], shorter=[[7, 7], [3, 3]])


def test_each_length_computes_what_it_does_alone(several: Program) -> None:
    """Also one after another in the same memory: none spoils what another one reads."""
    p = integer_parameters(artefact(24, 3, 40, classes=3))
    memory = np.array(np.frombuffer(several.memory, np.uint8))
    for number, program in enumerate([*several.every, *reversed(several.every)]):
        tokens = program.sequences[0].tokens
        alone = compile_encoder(p, SMALL, [tokens, tokens])
        ids = random_ids(number, [tokens, tokens])
        region = program.host_region
        memory[region.address : region.end] = program.image(ids)[region.address : region.end]
        machine = Machine(SMALL, memory, address=program.address)
        machine.finish()
        memory = machine.memory
        wanted = Machine(SMALL, alone.image(ids), address=alone.address)
        wanted.finish()
        for name in ("embedding", "logits"):
            assert np.array_equal(program.result(name, memory), alone.result(name, wanted.memory)), (tokens, name)


def test_weights_and_tables_are_there_once(several: Program) -> None:
    p = integer_parameters(artefact(24, 3, 40, classes=3))
    longest = len(compile_encoder(p, SMALL, [12, 12]).memory)
    own = {"ids", "positions", "program", "embedding", "logits"}
    extra = sum(-(-region.size // 64) * 64 for one in several.shorter for region in one.regions if region.name in own)
    assert len(several.memory) == longest + extra
    for one in several.every:
        assert len({region.name for region in one.regions}) == len(one.regions)


def test_the_shortest_that_fits(several: Program) -> None:
    chosen = {
        tokens: several.fitting(tokens).sequences[0].tokens for tokens in ((1, 1), (3, 3), (1, 4), (7, 2), (8, 1))
    }
    assert chosen == {(1, 1): 3, (3, 3): 3, (1, 4): 7, (7, 2): 7, (8, 1): 12}
    assert several.fitting([13, 1]) is several, "which says that it is too long"


def test_several_lengths_in_a_file(several: Program, tmp_path: Path) -> None:
    several.save(tmp_path / "P.nmp")
    read = programs.load(tmp_path / "P.nmp")
    assert [one.instructions for one in read.every] == [one.instructions for one in several.every]
    assert read.to_bytes() == several.to_bytes()
    for order in (several.shorter[::-1], (several.shorter[0], several.shorter[0])):
        with pytest.raises(InputError, match=r"tokens behind \[.*\]: must be as many, each of fewer$"):
            programs.from_bytes(replace(several, others=order).to_bytes())


# --- estimate --------------------------------------------------------------------------------------------------------


def test_estimate_counts_every_instruction(compiled: Program) -> None:
    found = estimate(compiled)
    assert [one.name for one in found] == list(compiled.names)
    assert all(one.cycles > 0 for one in found)
    sums = total(compiled, found)
    assert sums["cycles"] == found[0].begin + sum(sums["cycles_by_opcode"].values())
    assert all(early.begin + early.cycles == late.begin for early, late in pairwise(found))
    assert 0 < sums["utilisation"] < 1
    slow = total(compiled, estimate(compiled, Constants(memory=300)))
    assert slow["cycles"] > sums["cycles"]


# --- commands --------------------------------------------------------------------------------------------------------

FLAGS = ["--preset", "small", "--m", "8", "--max-tokens", "32", "--hidden", "24"]


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = artefact(24, 3, 40, pattern="2:8")
    save(tmp_path / "A.safetensors", whole.layers.values(), whole.model)
    file = tmp_path / "P.nmp"
    assert (
        main(["compile", str(tmp_path / "A.safetensors"), "--seq", "7,4", "--batch", "2", *FLAGS, "-o", str(file)]) == 0
    )
    assert "4 instructions" not in capsys.readouterr().out
    program = programs.load(file)
    assert [place.tokens for place in program.sequences] == [7, 4, 7, 4]
    encoder = IntegerEncoder(whole)
    ids = random_ids(3, [7, 4, 7, 4])
    machine = Machine(program.config, program.image(ids), address=program.address)
    machine.finish()
    means = torch.stack([encoder.means(torch.tensor(row)) for row in ids])
    assert np.array_equal(program.result("embedding", machine.memory), means.numpy())

    assert main(["disassemble", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(program.regions) + 1 + len(program.names)
    found = r"layer\.1\.output\.dense +PRODUCT +memory to_residual add pattern_n=2"
    assert any(re.search(found, line) for line in lines)
    assert main(["disassemble", str(file), "--json"]) == 0
    listing = json.loads(capsys.readouterr().out)["listing"]
    assert [one["name"] for one in listing] == list(program.names)
    assert main(["estimate", str(file), "--all"]) == 0
    assert "utilisation" in capsys.readouterr().out
    assert main(["estimate", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cycles"] > 1000


@pytest.mark.parametrize("config", [SMALL, WIDE, ODD, TINY], ids=["small", "wide", "odd", "tiny"])
def test_words_in_8_bits(config: StaConfig) -> None:
    whole = artefact(24, 3, 40, layers=1)
    found = check_every_step(config, whole, [7, 5], narrow_words=True)
    wide = check_every_step(config, whole, [7, 5])
    sizes = [program.region("embeddings.word_embeddings").size // 13 for program in (found, wide)]
    header = ceil_div(4, config.port_bytes) * config.port_bytes
    assert sizes == [header + round_up(24, config.port_bytes), round_up(48, config.port_bytes)]
    narrow = [name for name, one in zip(found.names, found.instructions, strict=True) if one.get("narrow")]
    assert narrow == ["embeddings.word_embeddings"]


def test_commands_with_words_in_8_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = artefact(24, 3, 40, pattern="2:8")
    save(tmp_path / "A.safetensors", whole.layers.values(), whole.model)
    line = [str(tmp_path / "A.safetensors"), "--seq", "7", *FLAGS, "--json"]
    files = [tmp_path / "8.nmp", tmp_path / "16.nmp"]
    for bits, file in zip(("8", "16"), files, strict=True):
        assert main(["compile", *line, "--table-bits", bits, "-o", str(file)]) == 0
    narrow, wide = map(programs.load, files)
    assert len(narrow.memory) < len(wide.memory)
    capsys.readouterr()
    assert main(["estimate", *line, "--table-bits", "8"]) == 0
    assert json.loads(capsys.readouterr().out)["cycles"] == total(narrow, estimate(narrow, Constants()))["cycles"]
    assert main(["estimate", str(files[0]), "--table-bits", "8"]) == 2
    assert "--table-bits" in capsys.readouterr().err


def test_commands_with_lengths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = artefact(24, 3, 40, pattern="2:8")
    save(tmp_path / "A.safetensors", whole.layers.values(), whole.model)
    file = tmp_path / "P.nmp"
    arguments = ["compile", str(tmp_path / "A.safetensors"), *FLAGS, "-o", str(file)]
    assert main([*arguments, "--lengths", "4,12,7", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["sequences"][0]["tokens"] for one in (said, *said["shorter"])] == [12, 7, 4]
    assert [one.sequences[0].tokens for one in programs.load(file).every] == [12, 7, 4]
    assert main([*arguments, "--lengths", "4,12,7"]) == 0
    assert "shorter      1 x 7 tokens, program at 0x" in capsys.readouterr().out
    assert main([*arguments, "--lengths", "4,12", "--seq", "4"]) == 2
    assert capsys.readouterr().err == "nmgen: --seq is 4 and --lengths 4,12: give one of them\n"
    assert main([*arguments, "--lengths", "4,x"]) == 2
    assert capsys.readouterr().err.startswith("nmgen: lengths is '4,x', must be ")


def test_every_length_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By `estimate` and `disassemble`: each as if it were compiled alone, in batches too."""
    whole = artefact(24, 3, 40, pattern="2:8")
    save(tmp_path / "A.safetensors", whole.layers.values(), whole.model)
    compile_ = ["compile", str(tmp_path / "A.safetensors"), *FLAGS, "--batch", "2", "-o"]
    lengths = (6, 4, 3)
    files = {tokens: str(tmp_path / f"{tokens}.nmp") for tokens in lengths}
    for tokens, file in files.items():
        assert main([*compile_, file, "--seq", str(tokens)]) == 0
    file = str(tmp_path / "P.nmp")
    assert main([*compile_, file, "--lengths", "3,4,6"]) == 0

    def said(*line: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main([*line, "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    estimated, listed = said("estimate", file), said("disassemble", file)
    assert [one["tokens"] for one in estimated["shorter"]] == [[4, 4], [3, 3]]
    for tokens, cycles, listing in zip(
        lengths, [estimated, *estimated["shorter"]], [listed, *listed["shorter"]], strict=True
    ):
        assert cycles["cycles"] == said("estimate", files[tokens])["cycles"]
        alone = said("disassemble", files[tokens])["listing"]
        assert [one["name"] for one in listing["listing"]] == [one["name"] for one in alone]
        assert [one.get("tokens") for one in listing["listing"]] == [one.get("tokens") for one in alone]
    assert main(["estimate", file]) == 0
    cycles = estimated["shorter"][1]["cycles"]
    assert f"  of 3, 3 tokens: {cycles:,} cycles, {cycles / 100_000:.3f} ms\n" in capsys.readouterr().out
    assert main(["disassemble", file]) == 0
    parts = capsys.readouterr().out.split("\nfor 3, 3 tokens:\n\n")
    assert len(parts) == 2
    assert parts[1].count(" NORM ") == parts[0].count(" NORM ") // 2


def test_no_more_lengths_than_a_file_holds() -> None:
    whole = IntegerEncoder(artefact(16, 2, 24, layers=1, pattern="2:8", positions=300))
    config = replace(SMALL, max_tokens=304, max_k=304, store_words=4096)
    with pytest.raises(InputError, match=r"^257 other programs, must be at most 256$"):
        compile_encoder(whole.parameters, config, [258], {}, [[tokens] for tokens in range(257, 0, -1)])


def test_a_folder_is_compiled_dense(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_model(tmp_path / "small")
    text = tmp_path / "text.txt"
    text.write_text("a fox crossed the river .\nthe line ?\n")
    arguments = ["compile", str(folder), "--seq", "6", "--calibrate", str(text), *FLAGS, "--json"]
    assert main([*arguments, "-o", str(tmp_path / "P.nmp")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["about"]["pattern"] == "dense"
    assert said["regions"]["ids"] == [0, 24]


def test_commands_refuse_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = artefact(24, 3, 40)
    file = tmp_path / "A.safetensors"
    save(file, whole.layers.values(), whole.model)
    out = ["-o", str(tmp_path / "P.nmp")]
    assert "seq is '7,x', must be" in fails(["compile", str(file), "--seq", "7,x", *FLAGS, *out], capsys)
    said = fails(["compile", str(file), "--seq", "9", *FLAGS, "--hidden", "8", *out], capsys)
    assert "hidden channels: 24, the configuration has 8: 16 too many (hidden)" in said
    assert "33 tokens, the model takes 1 to 32" in fails(["compile", str(file), "--seq", "33", *out], capsys)
    save(file, whole.layers.values())
    assert "layers alone" in fails(["compile", str(file), "--seq", "9", *out], capsys)
    assert not (tmp_path / "P.nmp").exists()
    assert f"{file}: no program that nmgen compile wrote" in fails(["disassemble", str(file)], capsys)
    assert "No such file" in fails(["disassemble", str(tmp_path / "missing")], capsys)


def test_the_largest_shift_of_a_context() -> None:
    """With the bits of the sum of the exponentials it is what the hardware shifts by, and no more."""
    parameters = IntegerEncoder(artefact(hidden=24, heads=3, inner=40)).parameters
    keys = 9
    most = SHIFT_MAX + 1 - (255 * keys).bit_length()

    def refusal(shift: int) -> str:
        blocks = tuple(replace(block, context=replace(block.context, shift=shift)) for block in parameters.blocks)
        try:
            compile_encoder(replace(parameters, blocks=blocks), SMALL, [keys])
        except InputError as error:
            return str(error)
        return ""

    assert refusal(most) == ""
    assert f"the context's shift is {most + 1}, with 9 keys it must be at most {most}" in refusal(most + 1)
