"""docs/format.md: every number of its worked example is computed anew."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from pruning.artefact import Layer, pack, save
from rtl.format import encode, pack_group

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
GIVEN, HEADER = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
BYTES = bytes.fromhex(re.findall(r"```\n((?:[0-9a-f]{2}\s)+)```", PAGE)[0])


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
