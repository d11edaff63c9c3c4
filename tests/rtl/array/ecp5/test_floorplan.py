"""The floorplan: every element has slices of its own that the device has, near those it talks to."""

from itertools import pairwise

import pytest

from rtl.array.ecp5.floorplan import DEVICES, Floorplan, Site
from rtl.params import Config, InputError, ceil_div
from rtl.sta.params import StaConfig


def config(
    rows: int, cols: int, n: int = 2, soft_rows: int = 0, device: str = "LFE5U-85F", kind: type[Config] = Config
) -> Config:
    return kind(n=n, m=8, rows=rows, cols=cols, drain=1, pe="ecp5", device=device, soft_rows=soft_rows)


def slices(one: Config) -> dict[tuple[int, int], list[Site]]:
    floorplan = Floorplan(one)
    found = {(r, c): floorplan.sites(r, c) for r in range(one.rows) for c in range(one.cols)}
    return {at: sites for at, sites in found.items() if sites is not None}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("n", "kind"), [(1, Config), (2, Config), (3, Config), (4, Config), (8, Config), (2, StaConfig)]
)
def test_every_slice_is_there_and_taken_once(device: str, n: int, kind: type[Config]) -> None:
    """In arrays of every size; those that the device has not enough slices for are refused, and told how many."""
    chip, each = DEVICES[device], ceil_div(n, 2)
    for rows in range(1, 27):
        for cols in range(1, 27):
            needed = rows * cols * each
            if needed > chip.slices:
                with pytest.raises(InputError, match=f"needs {needed} DSP slices, {device} has {chip.slices}"):
                    Floorplan(config(rows, cols, n, device=device, kind=kind))
                continue
            found = slices(config(rows, cols, n, device=device, kind=kind))
            taken = [site for sites in found.values() for site in sites]
            assert len(found) == rows * cols
            assert len(set(taken)) == len(taken) == needed, (rows, cols)
            assert all(p.x in chip.blocks and p.y in chip.rows and p.side in (0, 1) for p in taken), (rows, cols)


def test_neighbours_of_8x8() -> None:
    """Down a column a slice apart where the row of slices is the same, along a row three."""
    blocks = DEVICES["LFE5U-85F"].blocks

    def across(site: Site) -> int:
        return 2 * blocks.index(site.x) + site.side

    found = {at: sites[0] for at, sites in slices(config(8, 8)).items()}
    for (r, c), site in found.items():
        if c:
            left = found[r, c - 1]
            assert (across(site) - across(left), site.y) == (3, left.y)
        if r % 3:
            above = found[r - 1, c]
            assert (across(site) - across(above), site.y) == (1, above.y)


def test_rows_of_a_core_lie_side_by_side() -> None:
    """Each in a part of the width of its own, where its bank of the store can be."""
    found = {at: sites[0] for at, sites in slices(config(8, 8, kind=StaConfig)).items()}
    width = [[found[r, c].x for c in range(8)] for r in range(8)]
    for here, right in pairwise(width):
        assert max(here) <= min(right)
    assert {(c, found[r, c].y) for r in range(8) for c in range(8)} == {(c, (10, 34, 58)[c // 3]) for c in range(8)}


def test_soft_rows_take_no_slice() -> None:
    found = slices(config(16, 8, soft_rows=7))
    assert set(found) == {(r, c) for r in range(9) for c in range(8)}


@pytest.mark.parametrize("soft_rows", [0, 3])
def test_the_rest_is_free(soft_rows: int) -> None:
    """From right to left, of one block from the bottom up; what no element has."""
    one = config(8, 8, soft_rows=soft_rows)
    free = Floorplan(one).free()
    taken = {site for sites in slices(one).values() for site in sites}
    assert len({*free, *taken}) == len(free) + len(taken) == DEVICES["LFE5U-85F"].slices
    assert [(p.x, p.y, p.side) for p in free] == sorted(((p.x, p.y, p.side) for p in free), reverse=True)


def test_names() -> None:
    """As nextpnr has them: of both slices of a block."""
    assert Site(4, 10, 0).bels == ("X4/Y10/MULT18_0", "X5/Y10/MULT18_1", "X7/Y10/ALU54_3")
    assert Site(114, 58, 1).bels == ("X118/Y58/MULT18_4", "X119/Y58/MULT18_5", "X121/Y58/ALU54_7")


@pytest.mark.parametrize("device", ["", "LFE5U-12F"])
def test_a_device_without_a_table_is_left_to_the_placer(device: str) -> None:
    assert not slices(config(8, 8, device=device))
    assert not Floorplan(config(8, 8, device=device)).free()
