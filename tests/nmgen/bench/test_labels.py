"""Labels of a plot: each beside its point, over nothing else."""

from itertools import combinations
from pathlib import Path

import matplotlib
import pytest
from matplotlib.text import Annotation, Text

from nmgen.bench.labels import label


@pytest.mark.parametrize("near", [1.0, 10.0])
def test_no_label_covers_another_or_a_point(near: float, tmp_path: Path) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    points = [(50 + near * i / 4, 50 + near * i / 3, f"8×8, N = {i}, M = 8, ecp5", "black") for i in range(7)]
    points.append((100.0, 100.0, "in the corner", "black"))
    axes.set(xlim=(0, 100), ylim=(0, 100))
    label(axes, points, [(50, 30, 70)])
    figure.canvas.draw()
    written = [one for one in axes.get_children() if isinstance(one, Annotation)]
    assert [one.get_text() for one in written] == [text for _, _, text, _ in points]
    boxes = [Text.get_window_extent(one) for one in written]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    inside = axes.get_window_extent()
    for box in boxes:
        assert inside.x0 <= box.x0
        assert box.x1 <= inside.x1
        assert box.y1 <= inside.y1
        assert not any(box.contains(*axes.transData.transform((x, y))) for x, y, _, _ in points)
        assert not any(box.contains(*axes.transData.transform((50, y))) for y in range(30, 71))
    pyplot.close(figure)
