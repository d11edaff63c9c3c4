"""docs/format.md: every number of its worked example is computed anew."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from pruning.families.vit.shape import ViTShape
from pruning.files.artefact import NUMPY_TYPES, Layer, pack, save
from rtl.format import encode, pack_group
from tests.pruning.vits import vit_artefact

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
GIVEN, HEADER = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
BYTES = bytes.fromhex(re.findall(r"```\n((?:[0-9a-f]{2}\s)+)```", PAGE)[0])

SHAPE = ViTShape(image=12, patch=4, channels=3, hidden=24, layers=2, heads=3, intermediate=40, labels=5)


def example(n: int) -> Layer:
    numbers = {name: np.array(GIVEN[name]) for name in ("bias", "mult", "shift")}
    return Layer.from_dense("fc", np.array(GIVEN["weights"], np.int8), n, 8, **numbers)


def integers(text: str) -> list[int]:
    return [int(number.replace("−", "-")) for number in re.findall(r"−?\d+", text)]


def test_groups() -> None:
    rows = re.findall(r"^\| (\d), (\d) \| ([^|]+) \| ([^|]+) \| ([01 ]+) = (\d+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 4
    for channel, group, weights, pairs, bits, code in rows:
        padded = [*GIVEN["weights"][int(channel)], *[0] * 6]
        part = padded[8 * int(group) : 8 * int(group) + 8]
        assert integers(weights) == part
        values, positions = pack_group(part, 2)
        assert integers(pairs) == [number for pair in zip(values, positions, strict=True) for number in pair]
        assert int(code) == encode(positions, 2, 8) == int(bits.replace(" ", ""), 2)


def test_file(tmp_path: Path) -> None:
    save(tmp_path / "A.safetensors", [example(2)])
    data = (tmp_path / "A.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert f"The file is {len(data)} bytes" in PAGE
    assert f"length of {length} = {length:#x}" in PAGE
    assert json.loads(data[8 : 8 + length]) == HEADER
    assert list(json.loads(data[8 : 8 + length])) == list(HEADER)
    assert data[8 + length :] == BYTES


@pytest.mark.parametrize("n", [2, 3])
def test_selection(n: int) -> None:
    values, selection = pack(example(n).weights, n, 8)
    assert selection is not None
    assert f"the bytes {selection.tobytes().hex(' ')}" in PAGE.replace("\n", " ")
    if n == 2:
        assert f"{int.from_bytes(selection.tobytes(), 'little'):#x} in 24 bits" in PAGE
    else:
        words = [" ".join(str(v) for v in group).replace("-", "−") for group in values.reshape(-1, 3).tolist()]
        assert f"the values are {words[0]}, {words[1]}, {words[2]} and {words[3]}." in PAGE
        assert ", ".join(f"{code:08b}" for code in selection.tolist()[:2]) in PAGE


def test_every_tensor_of_a_vit_is_on_the_page() -> None:
    """Names, types and shapes in the table, and each point by its name."""
    artefact = vit_artefact(SHAPE)
    assert artefact.model
    section = PAGE.split("A ViT (`model_type` `vit`)")[1].split("## Worked example")[0]
    types = {np.dtype(kind): code for code, kind in NUMPY_TYPES.items()}
    hidden, tokens = f"{SHAPE.hidden}", f"{SHAPE.tokens}"
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| `")]
    for name, array in artefact.model.tensors.items():
        short = re.sub(r"encoder\.layer\.\d+\.", "", name)
        if short.startswith("scales."):
            point = short.removeprefix("scales.")
            wanted = {point, point.replace("attention.attention.", "attention.self.")}
            assert any(f"`{one}`" in PAGE for one in wanted), point
            short = "scales.POINT"
        if short.startswith("zeros."):
            assert short == "zeros.intermediate.table"
            short = "zeros.POINT"
        short = short.replace("tables.", "tables.encoder.layer.I.")
        parts = short.split(".")
        found = [row for row in rows if short in row[0] or all(part in row[0] for part in (parts[0], f".{parts[-1]}`"))]
        assert len(found) == 1, name
        _, kind, shape, _ = found[0]
        assert kind == types[array.dtype], name
        shapes = shape.replace("[H]", f"[{hidden}]").replace(" H]", f" {hidden}]").replace("T,", f"{tokens},")
        if short != "scales.POINT":
            assert str(list(array.shape)) in shapes, name
    for layer in ("embeddings.patch_embeddings.projection", "classifier"):
        assert layer in artefact.layers
        assert f"`{layer}`" in section
