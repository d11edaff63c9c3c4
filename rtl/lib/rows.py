"""Rows of several units each, words or beats, passed one after another: which unit is the last."""

from typing import NamedTuple

from amaranth.hdl import Module, Signal, Value

from rtl.lib.timing import preload


class RowEnds(NamedTuple):
    """Registers."""

    row_last: Signal  # the unit is the last of its row
    last_row: Signal  # the row is the last one


def count_rows(m: Module, rows: Value, units: Value, *, idle: Value, advance: Value) -> RowEnds:
    """Counts so many rows of so many units, each at least 1 and steady from the last cycle of `idle` on.

    The flags are registered when the counts change: `advance`, which passes a unit, may come late.
    """
    rows_left = Signal.like(rows, name="rows_left", reset_less=True)
    units_left = Signal.like(units, name="units_left", reset_less=True)
    ends = RowEnds(*(Signal(name=name) for name in RowEnds._fields))
    one_unit = Signal()
    m.d.sync += one_unit.eq(units == 1)
    with m.If(advance):
        m.d.sync += [units_left.eq(units_left - 1), ends.row_last.eq(units_left == 2)]
        with m.If(ends.row_last):
            m.d.sync += [units_left.eq(units), ends.row_last.eq(one_unit)]
            m.d.sync += [rows_left.eq(rows_left - 1), ends.last_row.eq(rows_left == 2)]
    with preload(m, idle):
        m.d.sync += [
            rows_left.eq(rows),
            ends.last_row.eq(rows == 1),
            units_left.eq(units),
            ends.row_last.eq(units == 1),
        ]
    return ends
