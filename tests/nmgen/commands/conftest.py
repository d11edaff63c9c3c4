"""Programs for a board, and the board."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boards.ulx3s import ULX3S_85F
from nmgen.cli import main
from pruning.families.vit.shape import ViTShape
from pruning.files.artefact import save
from rtl.sta.params import StaConfig
from tests.nmgen.driver.fake_board import FakeBoard
from tests.nmgen.encoders import artefact
from tests.pruning.vits import random_images, vit_artefact
from tests.sim.test_axi_sta import CASES

NARROW, SIZES = CASES["narrow"]
CONFIG = replace(NARROW, pe="ecp5", device=ULX3S_85F.device)  # as the image for this board is built by itself
VIT = ViTShape(image=8, patch=4, channels=1, hidden=16, layers=1, heads=2, intermediate=24, labels=3)


def flags(config: StaConfig) -> list[str]:
    return [f"--{name.replace('_', '-')}={getattr(config, name)}" for name in StaConfig.__dataclass_fields__]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with P.nmp, for two texts of 4 tokens, V.nmp, for a picture, and one.npy and two.npy, two pictures."""
    folder = tmp_path_factory.mktemp("compiled")
    for name, whole, further in (
        ("P", artefact(**SIZES), ["--seq", "4", "--batch", "2"]),
        ("V", vit_artefact(VIT), []),
    ):
        file = str(folder / f"{name}.safetensors")
        save(Path(file), whole.layers.values(), whole.model)
        assert main(["compile", file, *further, *flags(CONFIG), "-o", str(folder / f"{name}.nmp")]) == 0
    for name, picture in zip(("one", "two"), random_images(VIT, 2).numpy(), strict=True):
        np.save(folder / f"{name}.npy", picture)
    return folder


@pytest.fixture
def programs(
    compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    """The current folder, with the same."""
    shutil.copytree(compiled, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    return tmp_path


@pytest.fixture
def fake() -> Iterator[FakeBoard]:
    with FakeBoard(CONFIG) as board:
        yield board
