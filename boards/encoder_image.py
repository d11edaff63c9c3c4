"""The encoder on a board: its clocks and pins around it."""

import re
from dataclasses import replace
from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, Module, Value
from amaranth.lib import io, wiring

from boards.board import Board, Pins
from boards.encoder import Encoder, EncoderConfig
from boards.parts.flash import FlashPins
from boards.parts.heartbeat import heartbeat
from boards.parts.pll import Pll
from boards.parts.sdram.controller import ChipPins
from boards.parts.sdram.memory import DOMAIN

PIN_DOMAIN = "sdram_pin"  # the memory's clock as it leaves the chip

# Amaranth names an element of an array x[0], as yosys' abc9 does a bit of x, and aborts where both are (yosys #4349).
NAME = re.compile(r"\\\S+\[\S+(?=\s)")
PLAIN = str.maketrans("[]", "__")
SOURCE = re.compile(r'\(\* src = "[^"]*" \*\)\s*')  # where a line comes from, by the path of this folder


class EncoderImage(wiring.Component):
    """An encoder on a board. Elaborates for the board's platform only.

    LEDs: running while a program runs, passed once the memory can be used, failed where it works at no phase.
    """

    def __init__(self, board: Board, config: EncoderConfig) -> None:
        self._board = board
        self._config = config
        super().__init__({})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self._config
        m.submodules.encoder = encoder = Encoder(config)
        m.submodules.pll = pll = Pll(config.dividers, stepped=2)
        m.submodules.clock = clock = io.Buffer("i", platform.request(platform.default_clk, dir="-"))
        # Clocks begin when the PLL has locked, with the registers as the bitstream has them. A reset would be one
        # register's net to all over the chip, within a period.
        for domain, output in zip(("sync", DOMAIN, PIN_DOMAIN), pll.clocks, strict=True):
            m.domains += ClockDomain(domain, reset_less=True)
            gated = {"i_CLKI": output, "i_CE": pll.locked, "o_CLKO": ClockSignal(domain)}
            m.submodules[f"gate_{domain}"] = Instance("DCCA", **gated)
        m.d.comb += [pll.oscillator.eq(clock.i), pll.step.eq(encoder.step)]

        pins = Pins(platform)
        m.submodules.rx = rx = io.Buffer("i", pins.port(self._board.rx))
        m.submodules.tx = tx = io.Buffer("o", pins.port(self._board.tx))
        m.d.comb += [encoder.rx.eq(rx.i), tx.o.eq(encoder.tx)]
        lit = {
            "heartbeat": heartbeat(m, 1e6 * config.core_mhz),
            "running": encoder.busy,
            "passed": encoder.initialised,
            "failed": encoder.tested & ~encoder.initialised,
        }
        for name, pin in self._board.leds.items():
            m.submodules[f"led_{name}"] = led = io.Buffer("o", pins.port(pin))
            m.d.comb += led.o.eq(lit[name])
        self._memory(m, encoder.pins, platform.request("sdram", 0, dir="-"))
        if config.flash_offset is not None:
            self._flash(m, encoder.flash, pins)
        return m

    def _flash(self, m: Module, signals: FlashPins, pins: Pins) -> None:
        """The clock leaves by the pin that configuration has it at. Nothing is held or protected."""
        assert self._board.flash is not None
        outputs: dict[str, Value | int] = {"cs": signals.select, "copi": signals.copi, "hold": 0, "wp": 0}
        for name, value in outputs.items():
            m.submodules[f"flash_{name}"] = cell = io.Buffer("o", pins.port(replace(self._board.flash.pin, part=name)))
            m.d.comb += cell.o.eq(value)
        m.submodules.flash_cipo = cipo = io.Buffer("i", pins.port(replace(self._board.flash.pin, part="cipo")))
        m.d.comb += signals.cipo.eq(cipo.i)
        m.submodules.flash_clock = Instance("USRMCLK", i_USRMCLKI=signals.clk, i_USRMCLKTS=Const(0, 1))

    def _memory(self, m: Module, signals: ChipPins, ports: Any) -> None:
        """A register in the I/O cell of each pin; the clock passes one, too, so that it is as late as they are."""
        ras, cas, we = (~signals.command[bit] for bit in (2, 1, 0))  # ports are low when active, and invert
        outputs: dict[str, Value | int] = {
            "clk_en": 1,
            "cs": 1,
            "ras": ras,
            "cas": cas,
            "we": we,
            "ba": signals.bank,
            "a": signals.address,
            "dqm": signals.mask,
        }
        for name, value in outputs.items():
            m.submodules[f"sdram_{name}"] = cell = io.FFBuffer("o", getattr(ports, name), o_domain=DOMAIN)
            m.d.comb += cell.o.eq(value)
        m.submodules.sdram_dq = dq = io.FFBuffer("io", ports.dq, i_domain=DOMAIN, o_domain=DOMAIN)
        m.d.comb += [dq.o.eq(signals.dq_o), dq.oe.eq(~signals.dq_idle), signals.dq_i.eq(dq.i)]
        m.submodules.sdram_clk = clk = io.DDRBuffer("o", ports.clk, o_domain=PIN_DOMAIN)
        m.d.comb += [clk.o[0].eq(1), clk.o[1].eq(0)]


def files_of(board: Board, config: EncoderConfig, name: str) -> dict[str, str]:
    """What tools take: `.v`, the Verilog with `name` as its top module, and `.lpf`, sites and clocks of the pins.

    The same in every folder, so that what tools make of it can be kept.
    """
    plan = board.platform().build(EncoderImage(board, config), name=name, do_build=False, debug_verilog=True)
    verilog, pins = (_text(plan.files[f"{name}{suffix}"]) for suffix in (".debug.v", ".lpf"))
    return {".v": SOURCE.sub("", NAME.sub(lambda found: found[0].translate(PLAIN), verilog)), ".lpf": pins}


def _text(file: str | bytes) -> str:
    return file if isinstance(file, str) else file.decode()
