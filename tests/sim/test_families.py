"""Folders that transformers writes, of random sizes: compiled as users do, then on Verilog what the integers say.

`make nightly` draws NMGEN_FAMILY_RUNS of them, NMGEN_SEED is the seed. A folder is of the BERT family or a ViT: 1 to 12
layers, 32 to 256 channels, heads of whole words of the store and others, every activation. Small ones are drawn more
often than large ones, which take minutes each.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nmgen.bench.random_programs import random_configuration
from nmgen.cli import main
from nmgen.compiler import program as programs
from nmgen.compiler.program import Program
from nmgen.console.threads import one_thread
from nmgen.families.known import Named
from nmgen.models.model_program import artefact_of
from nmgen.simulate.run_program import run
from nmgen.verilog.writer import emit
from pruning.encoder.activations import ACTIVATIONS
from pruning.families.bert.integer import IntegerEncoder
from pruning.families.vit import folder
from pruning.families.vit.calibrate import patches_of
from pruning.families.vit.integer import IntegerViT
from pruning.families.vit.parameters import vit_parameters
from pruning.files.artefact import Artefact
from rtl.params import ceil_div, round_up
from rtl.sta.params import StaConfig
from rtl.sta.top import Sta
from tests.nmgen.estimate.test_cycles import exact
from tests.pruning.samples import WORDS
from tests.sim.bench.test_programs import BUILDS, SMALL

SEED = os.environ.get("NMGEN_SEED", "0")
RUNS = int(os.environ.get("NMGEN_FAMILY_RUNS", "40"))
STORE_WORDS = (1024, 4096, 16384, 65536)  # tried one after another
CYCLES = 4_000_000  # of a model's products; the largest model takes 2 million on the largest array that is drawn
TEXT = ["a fox crossed the river .", "the line ?", "a river crossed a line .", "fox", "the the the river ?"]

Numbers = np.ndarray


@dataclass(frozen=True)
class Sizes:
    """Of a model; family is a name of transformers'."""

    family: str
    hidden: int
    layers: int
    heads: int
    intermediate: int
    activation: str

    @property
    def head(self) -> int:
        return self.hidden // self.heads


def random_sizes(rng: random.Random, families: tuple[str, ...]) -> Sizes:
    heads = rng.randint(1, 12)
    head = max(ceil_div(32, heads), min(256 // heads, round(32 * 8 ** rng.random() / heads)))
    hidden = heads * head
    return Sizes(
        family=rng.choice(families),
        hidden=hidden,
        layers=round(12 ** rng.random()),
        heads=heads,
        intermediate=rng.randint(hidden // 2, 4 * hidden),
        activation=rng.choice(list(ACTIVATIONS)),
    )


def configuration(rng: random.Random, sizes: Sizes, lengths: list[int], k: int) -> StaConfig:
    """A random one into which the model fits, but for store_words, and on which it does not take all night."""
    weights = sizes.layers * sizes.hidden * (4 * sizes.hidden + 2 * sizes.intermediate)
    while True:
        config = random_configuration(rng)
        if weights / (config.cols * config.n) * ceil_div(sum(lengths), config.rows) < CYCLES:
            break
    heads = sizes.heads * round_up(sizes.head, config.store_word_bytes)
    tokens = sum(round_up(length, config.rows) for length in lengths) + rng.randint(0, 8)
    most = max(sizes.hidden, sizes.intermediate, heads, k)
    return replace(config, max_tokens=tokens, max_k=most, hidden=sizes.hidden + rng.randint(0, 9))


# --- folders ---------------------------------------------------------------------------------------------------------
def randomise(model: torch.nn.Module) -> None:
    """Biases and factors too, so that a lost one shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))


def write_text_model(path: Path, sizes: Sizes) -> None:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    common = {"vocab_size": len(WORDS), "max_position_embeddings": 40}
    if sizes.family == "distilbert":
        own = {"dim": sizes.hidden, "n_layers": sizes.layers, "n_heads": sizes.heads}
        config = transformers.DistilBertConfig(
            **common, **own, hidden_dim=sizes.intermediate, activation=sizes.activation
        )
        model: torch.nn.Module = transformers.DistilBertModel(config)
    else:
        kinds = {
            "bert": (transformers.BertConfig, transformers.BertModel),
            "roberta": (transformers.RobertaConfig, transformers.RobertaModel),
        }
        config_of, model_of = kinds[sizes.family]
        own = {"hidden_size": sizes.hidden, "num_hidden_layers": sizes.layers, "num_attention_heads": sizes.heads}
        config = config_of(**common, **own, intermediate_size=sizes.intermediate, hidden_act=sizes.activation)
        model = model_of(config)
    randomise(model)
    model.save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(WORDS) + "\n")


@dataclass(frozen=True)
class Pictures:
    """That a ViT sees: side and patch in pixels; how many at once."""

    side: int
    patch: int
    channels: int
    images: int

    @property
    def tokens(self) -> int:
        return (self.side // self.patch) ** 2 + 1


def write_vit(path: Path, sizes: Sizes, pictures: Pictures) -> None:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    config = transformers.ViTConfig(
        image_size=pictures.side,
        patch_size=pictures.patch,
        num_channels=pictures.channels,
        num_labels=5,
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.intermediate,
        hidden_act=sizes.activation,
    )
    model = transformers.ViTForImageClassification(config)
    randomise(model)
    model.save_pretrained(path)


# --- from a folder to what the design leaves -------------------------------------------------------------------------
def compiled(tmp_path: Path, config: StaConfig, *arguments: str) -> Program:
    """By the command, with a larger store where the program does not fit."""
    for words in (config.store_words, *STORE_WORDS):
        fits = replace(config, store_words=words)
        flags = [f"--{one.name.replace('_', '-')}={getattr(fits, one.name)}" for one in fields(StaConfig)]
        if main(["compile", *arguments, *flags, "-o", str(tmp_path / "p.nmp")]) == 0:
            return programs.load(tmp_path / "p.nmp")
    raise AssertionError(f"the program fits none of {STORE_WORDS}")


def simulated(
    tmp_path: Path, program: Program, image: Numbers, latency: int, *, check_each: bool
) -> dict[str, Numbers]:
    """Its results, after every comparison with the golden machine and with the estimate."""
    source = tmp_path / "sta.v"
    source.write_text(emit(Sta(program.config)))
    found = run(
        program,
        image,
        sources=[source],
        top="nmgen_top",
        simulator="verilator",
        latency=latency,
        seed=1,
        stall=False,
        build_dir=BUILDS,
        check_each=check_each,
    )
    assert found.wrong == []
    assert found.result
    exact(program, found.result, latency)
    return found.outputs


@dataclass(frozen=True)
class How:
    """It is compiled and run.

    pattern : N:M of every linear layer, dense where ''
    each : every instruction is compared
    """

    config: StaConfig
    latency: int
    pattern: str = ""
    each: bool = False


def check(tmp_path: Path, seen: Path, how: How, own: list[str], image: Callable[[Program], Numbers]) -> Artefact:
    """Compiles and runs what the folder holds; image : the memory, of a program. The artefact by another way."""
    arguments = [str(tmp_path / "model"), "--calibrate", str(seen), *own]
    program = compiled(tmp_path, how.config, *arguments, *(["--pattern", how.pattern] if how.pattern else []))
    outputs = simulated(tmp_path, program, image(program), how.latency, check_each=how.each)
    np.savez(tmp_path / "outputs.npz", **outputs)
    with one_thread():
        return artefact_of(Named(str(tmp_path / "model")), how.pattern or None, seen, print)[0]


def check_text(tmp_path: Path, sizes: Sizes, lengths: list[int], how: How) -> None:
    write_text_model(tmp_path / "model", sizes)
    text = tmp_path / "text.txt"
    text.write_text("\n".join(TEXT) + "\n")
    ids = [[5 + (3 * i + 7 * j) % (len(WORDS) - 5) for i in range(length)] for j, length in enumerate(lengths)]
    own = ["--seq", ",".join(map(str, lengths))]
    integers = IntegerEncoder(check(tmp_path, text, how, own, lambda program: program.image(ids)))
    means = torch.stack([integers.means(torch.tensor(row)) for row in ids])
    found = np.load(tmp_path / "outputs.npz")["embedding"]
    assert np.array_equal(found, means.numpy())
    assert len(np.unique(found)) > sizes.hidden // 4, "there is something to compare"


def check_vit(tmp_path: Path, sizes: Sizes, pictures: Pictures, how: How) -> None:
    write_vit(tmp_path / "model", sizes, pictures)
    side, images = pictures.side, pictures.images
    pixels = np.random.default_rng(sizes.hidden).integers(0, 256, (6, pictures.channels, side, side)).astype(np.uint8)
    np.save(tmp_path / "seen.npy", pixels)
    shape, shown = folder.load(tmp_path / "model").shape, torch.from_numpy(pixels[:images])
    patches = list(patches_of(shape, shown).numpy())
    own = ["--batch", str(images)]
    artefact = check(tmp_path, tmp_path / "seen.npy", how, own, lambda program: program.image_of_patches(patches))
    found = np.load(tmp_path / "outputs.npz")["logits"]
    assert np.array_equal(found, IntegerViT(vit_parameters(artefact)).results(shown).numpy())
    assert len(np.unique(found)) > 1, "there is something to compare"


@pytest.mark.parametrize("family", ["bert", "vit"])
def test_a_small_one(family: str, tmp_path: Path) -> None:
    """Of heads that are no whole words. The build is that of tests/sim/bench/test_programs.py."""
    torch.manual_seed(0)
    sizes = Sizes(family, hidden=36, layers=1, heads=3, intermediate=50, activation="silu")
    how = How(SMALL, latency=7, pattern="2:8")
    if family == "vit":
        check_vit(tmp_path, sizes, Pictures(8, 4, channels=1, images=2), how)
    else:
        check_text(tmp_path, sizes, [7, 3], how)


@pytest.mark.nightly
@pytest.mark.parametrize("number", range(RUNS))
def test_random_folders(number: int, tmp_path: Path) -> None:
    print(f"NMGEN_SEED={SEED}, folder {number}")
    rng = random.Random(f"{SEED} {number}")
    torch.manual_seed(rng.getrandbits(32))
    sizes = random_sizes(rng, ("vit",) if number % 2 else ("bert", "roberta", "distilbert"))
    if number % 2:
        patch, patches = rng.randint(2, 6), rng.choice((1, 2, 3))
        pictures = Pictures(patch * patches, patch, channels=rng.choice((1, 3)), images=rng.choice((1, 2)))
        lengths, k = [pictures.tokens] * pictures.images, patch**2 * pictures.channels
    else:
        lengths, k = [rng.randint(1, 12) for _ in range(rng.choice((1, 1, 2)))], 1
    config = configuration(rng, sizes, lengths, k)
    how = How(
        config,
        latency=rng.choice([1, 30, 30, rng.randint(1, 200)]),
        pattern=rng.choice(["", f"{config.n}:{config.m}", f"{rng.randint(1, config.m)}:{config.m}"]),
        each=rng.random() < 0.25,
    )
    print(sizes, lengths, how)
    if number % 2:
        print(pictures)
        check_vit(tmp_path, sizes, pictures, how)
    else:
        check_text(tmp_path, sizes, lengths, how)
