"""The picture of a run: every instruction leaves something to see, however short it is."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from nmgen.simulate.timeline import LANES, draw
from rtl.sta.isa import Columns, Op

CYCLES = 1_000_000


@dataclass
class Listed:
    """As much of a program as is drawn."""

    names: list[str] = field(default_factory=list)
    instructions: list[dict[str, int]] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)

    def add(self, name: str, begin: int, cycles: int, opcode: Op, **fields: int) -> None:
        self.names.append(name)
        self.instructions.append({"opcode": opcode, **fields})
        self.spans.append((begin, begin + cycles))


def coloured(picture: np.ndarray, kind: str) -> np.ndarray:
    """Of each column of pixels, whether a bar's height of them is near the kind's colour."""
    wanted = np.array([int(LANES[kind][at : at + 2], 16) for at in (1, 3, 5)])
    near = np.abs(picture.astype(int) - wanted).sum(axis=2) < 60
    return np.asarray(near.sum(axis=0) > 15)


def runs(columns: np.ndarray) -> int:
    """How many bars lie side by side."""
    return int((np.diff(columns.astype(int), prepend=0) == 1).sum())


def test_bars_thinner_than_a_pixel_are_seen(tmp_path: Path) -> None:
    """TABLE of six blocks, heads a tenth of a pixel long each, and a STORE at the very end."""
    listed = Listed()
    for block in range(6):
        begin = block * CYCLES // 6
        listed.add(f"encoder.layer.{block}.query", begin, 50_000, Op.PRODUCT, columns=Columns.MEMORY)
        listed.add(f"encoder.layer.{block}.table", begin + 50_001, 3, Op.TABLE)
        for head in range(4):
            listed.add(
                f"encoder.layer.{block}.scores", begin + 60_000 + 8000 * head, 70, Op.PRODUCT, columns=Columns.KEYS
            )
    listed.add("store embedding [0]", CYCLES - 60, 60, Op.STORE)
    draw(listed, listed.spans, "six blocks", tmp_path / "t.png")  # type: ignore[arg-type]
    picture = np.array(Image.open(tmp_path / "t.png").convert("RGB"))
    whole, block = np.array_split(picture[:, 120:], 2)  # without the lanes' names
    assert runs(coloured(whole, "table")) == 6
    assert runs(coloured(whole, "scores")) == 24
    assert runs(coloured(whole, "load, store")) >= 1
    assert runs(coloured(block, "scores")) == 4
