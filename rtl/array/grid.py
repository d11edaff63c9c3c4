"""The array: rows × cols processing elements, activations to the right, weights down."""

from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.array.steps import column_step, row_step
from rtl.array.technology import processing_elements
from rtl.params import Config

ELEMENT = "pe_{}_{}"  # the instance of element (row, column)


class Array(wiring.Component):
    """Processing elements in a grid, each passing its operands on a cycle later.

    Members
    -------
    rows : what enters each row at its left end; row r must be r cycles behind row 0
    columns : what enters each column at its top; column c must be `Config.behind` cycles behind column 0
    results : of each element [row][column], accumulator_bits signed; element (r, c) sees a step
        r + behind(c) cycles after it entered at (0, 0)
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._elements = processing_elements(config)
        super().__init__(
            {
                "rows": In(row_step(config)).array(config.rows),
                "columns": In(column_step(config)).array(config.cols),
                "results": Out(signed(config.accumulator_bits)).array(config.rows, config.cols),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        above = list(self.columns)
        for r, elements in enumerate(self._elements):
            left = self.rows[r]
            for c, pe in enumerate(elements):
                m.submodules[ELEMENT.format(r, c)] = pe
                m.d.comb += [pe.row_in.eq(left), pe.column_in.eq(above[c]), self.results[r][c].eq(pe.result)]
                above[c] = pe.column_out
                if self._config.behind(c + 1) > self._config.behind(c):
                    left = pe.row_out
        return m
