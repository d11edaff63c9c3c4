"""A ViT through the commands: compile, disassemble, estimate, and pictures to classes on Verilog."""

import gzip
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nmgen.cli import main
from nmgen.compiler import program as programs
from nmgen.families.vit.compiler import compile_vit
from nmgen.families.vit.pictures import fitted
from pruning.families.known import family_of
from pruning.families.vit.calibrate import calibrate
from pruning.families.vit.export import from_artefact, to_artefact
from pruning.families.vit.folder import save
from pruning.families.vit.integer import IntegerViT
from pruning.families.vit.model import encoder_layers, small_vit
from pruning.families.vit.parameters import vit_parameters
from pruning.families.vit.shape import ViTShape
from pruning.files import artefact as artefacts
from pruning.files.artefact import Artefact
from pruning.masks.sparsify import finalize, sparsify
from rtl.params import InputError
from rtl.sta.params import StaConfig
from sim.golden.machine import Machine
from tests.nmgen.encoders import artefact as encoder_artefact
from tests.nmgen.test_cli import fails
from tests.pruning.vits import random_images, random_vit, vit_artefact

BUILDS = Path(__file__).parents[3] / "build" / "test-sim"
# The configuration of tests/nmgen/commands/test_simulate_program.py, so that both run the same builds.
CONFIG = StaConfig(n=2, m=8, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=16, max_k=64, hidden=16, store_words=128)
FLAGS = [f"--{name.replace('_', '-')}={getattr(CONFIG, name)}" for name in StaConfig.__dataclass_fields__]
TINY = ViTShape(image=8, patch=4, channels=1, hidden=16, layers=1, heads=2, intermediate=24, labels=3)  # 5 tokens
NAMES = ["shirt", "boot", "bag"]
PICTURES = random_images(TINY, 3, seed=7)


def write(name: str, artefact: Artefact) -> None:
    artefacts.save(name, artefact.layers.values(), artefact.model)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in a folder that holds A.safetensors, at 2:8, the dense model's folder vit/ and pictures."""
    monkeypatch.chdir(tmp_path)
    write("A.safetensors", vit_artefact(TINY, "2:8"))
    model = random_vit(TINY)
    model.config["id2label"] = {str(i): name for i, name in enumerate(NAMES)}
    save(model, Path("vit"))
    for i, picture in enumerate(PICTURES.numpy()):
        Path(f"{i}.pgm").write_bytes(b"P5 8 8 255\n" + picture.tobytes())
    np.save("seen.npy", random_images(TINY, 6, seed=1).numpy())


def compiled(*further: str, model: str = "A.safetensors", batch: int = 2) -> programs.Program:
    assert main(["compile", model, "--batch", str(batch), *FLAGS, "-o", "P.nmp", *further]) == 0
    return programs.load(Path("P.nmp"))


def simulate(*further: str, images: tuple[str, ...] = ("0.pgm", "1.pgm"), simulator: str = "verilator") -> int:
    given = ["--image", *images] if images else []
    return main(["simulate", "P.nmp", *given, "--simulator", simulator, "--build", str(BUILDS), *further])


# --- compile ---------------------------------------------------------------------------------------------------------


def test_an_artefact_is_compiled_as_its_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    program = compiled()
    artefact = vit_artefact(TINY, "2:8")
    direct = compile_vit(vit_parameters(artefact), CONFIG, 2)
    assert program.memory == direct.memory
    assert program.instructions == direct.instructions
    assert program.about["classes"] == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert {key: program.about[key] for key in ("image", "channels", "patch_side")} == {
        "image": 8,
        "channels": 1,
        "patch_side": 4,
    }
    assert 2 in {one.get("pattern_n") for one in program.instructions}
    said = capsys.readouterr().out
    assert f"P.nmp: {len(program.names)} instructions\n  pictures     2 x 5 tokens\n" in said
    assert f"patches at {program.region('patches').address:#x}" in said


def test_a_folder_is_calibrated_on_pictures() -> None:
    """Whatever they come in; and what comes out is the dense model, with the names of its classes."""
    seen = np.load("seen.npy")
    Path("many").mkdir()
    for i, picture in enumerate(seen):
        np.save(f"many/{i}.npy", picture[0])
    head = bytes((0, 0, 8, 3)) + b"".join(size.to_bytes(4, "big") for size in (6, 8, 8))
    Path("seen.gz").write_bytes(gzip.compress(head + seen.tobytes()))
    found = [compiled("--calibrate", name, model="vit") for name in ("seen.npy", "many", "seen.gz")]
    assert found[0].to_bytes() == found[1].to_bytes() == found[2].to_bytes()
    model = random_vit(TINY)
    parameters = vit_parameters(to_artefact(model, {}, calibrate(model, torch.from_numpy(seen))))
    assert found[0].memory == compile_vit(parameters, CONFIG, 2).memory
    assert found[0].about["classes"] == NAMES
    assert found[0].about["pattern"] == "dense"


def test_what_compile_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str) -> str:
        return fails(["compile", *arguments, *FLAGS, "-o", "X.nmp"], capsys)

    assert "vit is a folder of a ViT: give pictures to calibrate on, --calibrate FILE or folder" in said("vit")
    assert "A.safetensors is a ViT, whose tokens are its patches: it takes no --seq" in said(
        "A.safetensors", "--seq", "5"
    )
    assert "A.safetensors is an artefact, which has its scales" in said("A.safetensors", "--calibrate", "seen.npy")
    assert "tokens of all sequences: 17, the configuration has 16: 1 too many (max_tokens)" in said(
        "A.safetensors", "--batch", "3"
    )
    assert "missing.npy: No such file" in said("vit", "--calibrate", "missing.npy")
    np.save("large.npy", np.zeros((2, 9, 9), np.uint8))
    assert "large.npy has 9 x 9 pixels, the model takes 8 x 8" in said("vit", "--calibrate", "large.npy")
    write("B.safetensors", encoder_artefact(16, 2, 24))
    assert "B.safetensors reads text: give --seq, the tokens of a sequence" in said("B.safetensors")
    broken = vit_artefact(TINY)
    assert broken.model
    tensors = {name: array for name, array in broken.model.tensors.items() if name != "layernorm.bias"}
    write("C.safetensors", replace(broken, model=replace(broken.model, tensors=tensors)))
    assert said("C.safetensors") == "nmgen: C.safetensors: tensor layernorm.bias is missing\n"
    config = json.loads(Path("vit/config.json").read_text())
    Path("vit/config.json").write_text(json.dumps(config | {"patch_size": 3}))
    assert "vit/config.json: image_size 8 is no multiple of patch_size 3" in said("vit", "--calibrate", "seen.npy")
    assert not Path("X.nmp").exists()


def test_the_other_commands_take_it(capsys: pytest.CaptureFixture[str]) -> None:
    program = compiled()
    capsys.readouterr()
    assert main(["disassemble", "P.nmp"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in program.names)
    assert main(["estimate", "P.nmp", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in said["instructions"]] == list(program.names)
    assert said["cycles"] > 1000


# --- simulate --------------------------------------------------------------------------------------------------------


def test_picture_to_class(capsys: pytest.CaptureFixture[str]) -> None:
    program = compiled()
    capsys.readouterr()
    files = ["--output", "y.npy", "--timeline", "t.png"]
    assert simulate("--check-each", "--reference", "A.safetensors", *files, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    artefact = vit_artefact(TINY, "2:8")
    integers, floats = IntegerViT(vit_parameters(artefact)), from_artefact(artefact)
    logits = integers.logits(PICTURES[:2])
    assert np.allclose(said["logits"], logits.numpy())
    assert np.allclose(np.load("y.npy"), logits.numpy())
    assert said["class"] == logits.argmax(dim=1).tolist()
    assert said["class_name"] == [f"LABEL_{label}" for label in said["class"]]
    wanted = floats(floats.pixels.floats(PICTURES[:2]))
    assert said["reference_class"] == wanted.argmax(dim=1).tolist()
    assert np.allclose(said["cosine"], torch.cosine_similarity(logits, wanted).numpy(), atol=1e-5)
    assert min(said["cosine"]) > 0.98
    assert said["pictures"] == ["0.pgm", "1.pgm"]
    assert said["instructions_compared"] == len(program.names)
    assert said["values_compared"] > 1000
    assert said["wrong"] == []
    assert [one["name"] for one in said["instructions"]] == list(program.names)
    assert 0 < said["utilisation"] < 0.5
    assert said["cycles"] > 1000
    assert Path("t.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_fewer_pictures_than_places(capsys: pytest.CaptureFixture[str]) -> None:
    """What a person reads; and the places that are left over say nothing."""
    compiled("--calibrate", "seen.npy", model="vit")
    capsys.readouterr()
    assert simulate("--reference", "vit", images=("2.pgm",)) == 0
    said = capsys.readouterr().out
    model = random_vit(TINY)
    scales = calibrate(model, torch.from_numpy(np.load("seen.npy")))
    integers = IntegerViT(vit_parameters(to_artefact(model, {}, scales)))
    logits = integers.logits(PICTURES[2:])[0]
    number, floats = int(logits.argmax()), model(model.pixels.floats(PICTURES[2:]))[0]
    cosine = float(torch.cosine_similarity(logits, floats, dim=0))
    theirs = int(floats.argmax())
    wanted = (
        f"picture      class {number} ({NAMES[number]}), cosine to float {cosine:.4f}, "
        f"{'the same class' if theirs == number else f'float says class {theirs}'}, "
        f"logits {' '.join(f'{value:.3f}' for value in logits.tolist())}: 2.pgm"
    )
    lines = [line.strip() for line in said.splitlines() if line.startswith("  picture")]
    assert lines == [wanted]
    assert "every bit as the golden machine" in said


def test_places_that_are_left_over_are_grey() -> None:
    program = compiled()
    patches = fitted(program, PICTURES[:1].numpy())
    assert len(patches) == 2
    assert not patches[1].any()
    machine = Machine(CONFIG, program.image_of_patches(patches), address=program.address)
    machine.finish()
    grey = torch.full((1, 1, 8, 8), 128, dtype=torch.uint8)
    wanted = IntegerViT(vit_parameters(vit_artefact(TINY, "2:8"))).results(torch.cat((PICTURES[:1], grey)))
    assert np.array_equal(program.result("logits", machine.memory), wanted.numpy())


def test_without_a_classifier(capsys: pytest.CaptureFixture[str]) -> None:
    """The class token's state is the embedding."""
    artefact = vit_artefact(replace(TINY, labels=0), "2:8")
    write("A.safetensors", artefact)
    compiled(batch=1)
    capsys.readouterr()
    assert simulate("--reference", "A.safetensors", "--output", "y.npy", "--json", images=("0.pgm",)) == 0
    said = json.loads(capsys.readouterr().out)
    state = IntegerViT(vit_parameters(artefact)).logits(PICTURES[:1])
    assert np.allclose(np.load("y.npy"), torch.nn.functional.normalize(state, dim=1).numpy(), atol=1e-4)
    assert said["cosine"][0] > 0.98
    assert "class" not in said


def test_what_simulate_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    compiled()

    def said(*further: str, images: tuple[str, ...] = ("0.pgm",)) -> str:
        capsys.readouterr()
        assert simulate(*further, images=images) == 2
        found = capsys.readouterr()
        assert found.out == ""
        assert found.err.count("\n") == 1
        return found.err

    assert "P.nmp is a program for pictures: give --image (see nmgen simulate --help)" in said(images=())
    assert "P.nmp is a program for pictures: it takes no --text" in said("--text", "a fox", images=())
    Path("ids.json").write_text("[[1, 2]]")
    assert "P.nmp is a program for pictures: it takes no --ids" in said("--ids", "ids.json", images=())
    assert "3 pictures, the program is compiled for 2" in said(images=("0.pgm", "1.pgm", "2.pgm"))
    assert "6 pictures, the program is compiled for 2" in said(images=("seen.npy",))
    assert "missing.pgm: No such file" in said(images=("missing.pgm",))
    assert "vit is a folder, must be a picture" in said(images=("vit",))
    Path("long.pgm").write_bytes(b"P5 9 8 255\n" + bytes(72))
    assert "long.pgm has 9 x 8 pixels, the model takes 8 x 8" in said(images=("long.pgm",))
    Path("text.png").write_text("no picture")
    assert "text.png is no picture" in said(images=("text.png",))
    assert "model nowhere is not a folder" in said("--reference", "nowhere")
    write("T.safetensors", encoder_artefact(16, 2, 24, layers=1))
    assert "T.safetensors is an encoder of text, P.nmp is a program of another kind" in said(
        "--reference", "T.safetensors"
    )
    for change, message in (
        ({"labels": 5}, "logits of 5 channels, P.nmp of 3"),
        ({"image": 12}, "image = 12, P.nmp 8"),
    ):
        write("B.safetensors", vit_artefact(replace(TINY, **change)))  # type: ignore[arg-type]
        assert f"B.safetensors has {message}" in said("--reference", "B.safetensors")
    assert main(["simulate", "A.safetensors", "--image", "0.pgm"]) == 2
    assert "A.safetensors is no program: it takes no --image" in capsys.readouterr().err
    write("T.safetensors", encoder_artefact(16, 2, 24, layers=1))
    assert main(["compile", "T.safetensors", "--seq", "7", *FLAGS, "-o", "P.nmp"]) == 0
    assert "P.nmp is a program for text: it takes no --image" in said()


@pytest.mark.nightly
def test_small_vit_on_the_large_array(capsys: pytest.CaptureFixture[str]) -> None:
    """The benchmarks' model, image to class, bit for bit: 8 × 8 processing elements, N = 2, M = 8."""
    model = small_vit(0).eval().requires_grad_(False)
    plan = sparsify(model, "2:8", filter_fn=encoder_layers)
    finalize(model)
    pictures = random_images(model.shape, 10)
    write("S.safetensors", to_artefact(model, plan.layers, calibrate(model, pictures)))
    np.save("one.npy", pictures[:1].numpy())
    assert main(["compile", "S.safetensors", "-o", "P.nmp"]) == 0
    capsys.readouterr()
    arguments = ["--check-each", "--reference", "S.safetensors", "--mem-latency", "30", "--json"]
    assert simulate(*arguments, images=("one.npy",)) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    program = programs.load(Path("P.nmp"))
    assert said["instructions_compared"] == len(program.names)
    logits = IntegerViT(vit_parameters(artefacts.read("S.safetensors"))).logits(pictures[:1])
    assert np.allclose(said["logits"], logits.numpy())
    assert said["cosine"][0] > 0.97
    assert not [note for note in program.notes if "packed as" in note]


def test_a_folder_whose_config_is_of_no_model() -> None:
    """It is said before anything else is read."""
    Path("other").mkdir()
    for text, said in (
        ("{", "other/config.json is not JSON"),
        ("[]", "other/config.json is not a JSON object"),
        ('{"model_type": 3}', "other/config.json: model_type is 3, must be one of bert, roberta"),
    ):
        Path("other/config.json").write_text(text)
        with pytest.raises(InputError, match=f"^{re.escape(said)}"):
            family_of("other")
