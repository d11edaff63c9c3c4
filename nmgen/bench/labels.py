"""Labels at the points of a plot, each where it covers neither another one nor a point."""

from collections.abc import Sequence
from typing import Any

STEP = 9.0  # points of type, from one try to the next
FAR = 9  # tries in each direction


def label(
    axes: Any, points: Sequence[tuple[float, float, str, Any]], spans: Sequence[tuple[float, float, float]]
) -> None:
    """Write the text of each point (x, y, text, colour) beside it, or further away, at the end of a line.

    Parameters
    ----------
    axes : matplotlib's, with its limits and scales as they will be
    spans : (x, lowest y, highest y) of bars that no label may cover
    """
    from matplotlib.text import Text

    figure = axes.figure
    figure.canvas.draw()  # now it is known where things are
    taken = [_around(axes, x, low, high) for x, low, high in spans]
    taken += [_around(axes, x, y, y) for x, y, _, _ in points]
    inside = axes.get_window_extent()
    offsets = sorted(
        ((side * right, up * STEP) for right in (10, 34) for side in (1, -1) for up in range(-FAR, FAR + 1)),
        key=lambda offset: (abs(offset[0]) / 4 + abs(offset[1]), offset),
    )
    for x, y, text, colour in points:
        for right, up in offsets:
            written = axes.annotate(
                text,
                (x, y),
                (right, up),
                textcoords="offset points",
                ha="left" if right > 0 else "right",
                va="center",
                fontsize="small",
                color=colour,
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkB": 4},
            )
            written.update_positions(figure.canvas.get_renderer())
            box = Text.get_window_extent(written)  # without the line
            fits = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if fits and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            written.remove()
        else:
            axes.annotate(text, (x, y), fontsize="small", color=colour)  # no room: better over something than nowhere


def _around(axes: Any, x: float, low: float, high: float) -> Any:
    """The box of a marker, or of a bar, in pixels."""
    from matplotlib.transforms import Bbox

    (left, bottom), (right, top) = axes.transData.transform([(x, low), (x, high)])
    return Bbox.from_extents(left - 6, bottom - 6, right + 6, top + 6)
