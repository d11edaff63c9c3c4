"""The encoder's image: its pins and clocks on each board, and configurations that none can have."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from boards.board import Board
from boards.encoder import EncoderConfig
from boards.encoder_image import files_of
from boards.known import BOARDS
from boards.parts.sdram.chips import CHIPS, common
from rtl.params import InputError
from rtl.sta.params import StaConfig
from tests.sim.test_axi_sta import CASES

ROOT = Path(__file__).resolve().parents[2]
STA = CASES["narrow"][0]
MEMORY_PINS = {"clk": 1, "clk_en": 1, "cs": 1, "ras": 1, "cas": 1, "we": 1, "ba": 2, "a": 13, "dqm": 2, "dq": 16}


def config(board: Board, **changes: object) -> EncoderConfig:
    standard = {
        "sta": STA,
        "chip": common(board.memories),
        "oscillator_mhz": board.oscillator_mhz,
        "core_mhz": 100.0,
        "memory_mhz": 125.0,
        "baud": 3_000_000,
    }
    return EncoderConfig(**{**standard, **changes})


@cache
def files(board_name: str) -> dict[str, str]:
    """Of the standard image."""
    board = BOARDS[board_name]
    return files_of(board, config(board), "image")


def test_no_path_is_in_the_files() -> None:
    """Else what tools made of them in one folder would be made again in another."""
    for text in files("ulx3s-85f").values():
        assert str(ROOT) not in text
        assert "src =" not in text


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_each_pin_has_a_site(board: Board) -> None:
    made = files(board.name)
    sites = {line.split('"')[1]: line.split('"')[3] for line in made[".lpf"].splitlines() if "LOCATE" in line}
    assert len(set(sites.values())) == len(sites)
    for name, bits in MEMORY_PINS.items():
        port = f"sdram_0__{name}__io"
        assert len([one for one in sites if one.partition("[")[0] == port]) == bits
    assert {board.rx.port, board.tx.port} <= set(sites)
    assert "FREQUENCY PORT" in made[".lpf"]
    assert "\nmodule image(" in made[".v"]


def test_the_pll_makes_the_clocks() -> None:
    """As Lattice's description of the EHXPLLL has it (FPGA-TN-02200), of what stands in the Verilog."""
    verilog = files("ulx3s-85f")[".v"]
    ((parameters, connections),) = re.findall(r"\n  EHXPLLL #\((.*?)\) pll \((.*?)\);", verilog, re.DOTALL)
    given = {name: value.strip('"') for name, value in re.findall(r"\.(\w+)\((.*?)\)", parameters)}
    number = {name: int(value.removeprefix("32'd")) for name, value in given.items() if value.startswith("32'd")}
    pins = dict(re.findall(r"\.(\w+)\((.*?)\)", connections))
    outputs = ("CLKOP", "CLKOS", "CLKOS2")
    assert (given["FEEDBK_PATH"], pins["CLKFB"]) == ("CLKOP", pins["CLKOP"])
    detector = 25 / number["CLKI_DIV"]
    vco = detector * number["CLKFB_DIV"] * number["CLKOP_DIV"]
    assert (detector >= 10, 400 <= vco <= 800) == (True, True)
    assert [vco / number[f"{name}_DIV"] for name in outputs] == [100, 125, 125]
    # All rise together, as CPHASE is less one what divides.
    assert [number[f"{name}_CPHASE"] + 1 for name in outputs] == [number[f"{name}_DIV"] for name in outputs]
    assert {number[f"{name}_FPHASE"] for name in outputs} == {0}
    assert {given[f"{name}_ENABLE"] for name in outputs} == {"ENABLED"}
    assert (pins["RST"], pins["STDBY"]) == ("1'h0", "1'h0")
    # The third one is stepped, later.
    assert (given["DPHASE_SOURCE"], pins["PHASESEL1"], pins["PHASESEL0"]) == ("ENABLED", "1'h0", "1'h1")
    assert (pins["PHASEDIR"], pins["PHASELOADREG"]) == ("1'h0", "1'h1")
    assert len({pins[name] for name in outputs}) == 3


def test_clocks_begin_when_the_pll_has_locked() -> None:
    """There is no reset: what changed before would stay changed."""
    verilog = files("ulx3s-85f")[".v"]
    gates = [
        dict(re.findall(r"\.(\w+)\((.*?)\)", one)) for one in re.findall(r"\n  DCCA \w+ \((.*?)\);", verilog, re.DOTALL)
    ]
    assert sorted((one["CE"], one["CLKI"], one["CLKO"]) for one in gates) == [
        ("locked", "clocks__0", "clk"),
        ("locked", "clocks__1", "sdram_clk"),
        ("locked", "clocks__2", "sdram_pin_clk"),
    ]
    assert "\n    .LOCK(locked)," in verilog


def test_what_no_image_can_have() -> None:
    board = BOARDS["ulx3s-85f"]
    for changes, message in (
        ({"sta": replace(STA, port_bytes=1)}, "port_bytes is 1, must be at least 2 before an SDRAM"),
        ({"memory_mhz": 150.0}, "the memory's clock is 150 MHz, must be at most 143 for "),
        ({"baud": 30_000_000}, "baud rate is 30000000, must be at most 25000000 at 100 MHz"),
        (
            {"core_mhz": 25.0, "memory_mhz": 25.0, "baud": 500_000},
            "the memory's clock has 192 phases at 25 MHz, must be at most 64",
        ),
    ):
        with pytest.raises(InputError) as error:
            config(board, **changes)
        assert str(error.value).startswith(message)


def test_a_chip_that_each_can_be_taken_for() -> None:
    """No time is shorter than any chip's, no size larger."""
    chip = common(list(CHIPS))
    assert chip.bytes == min(one.bytes for one in CHIPS.values())
    for one in CHIPS.values():
        for field in ("t_rcd", "t_rp", "t_ras", "t_rc", "t_rrd", "t_rfc", "t_wr", "t_power_up", "mrd"):
            assert getattr(chip, field) >= getattr(one, field)
        assert chip.mhz_max <= one.mhz_max


def test_the_configuration_of_the_whole_model() -> None:
    """That MiniLM's image is built of."""
    board = BOARDS["ulx3s-85f"]
    whole = config(board, sta=StaConfig(n=2, m=8, rows=8, cols=8, port_bytes=16, store_words=2048))
    assert (whole.phases, whole.hello.memory_bytes) == (32, 32 << 20)
