"""Paths out of a file of delays: a small one by hand, and what nextpnr writes of a real design."""

import pytest

from nmgen.fpga.timing_paths import Delays, component, passed, worst_by_component, worst_paths

# a and b, registers of the post-processor, through a LUT and a memory of the store, to c in it and to pins.
SDF = """
(DELAYFILE
  (CELL (CELLTYPE "top")
    (INSTANCE )
    (DELAY (ABSOLUTE
        (INTERCONNECT core.post_processor.pipeline.a/Q core.store.x/A (1000:1500:2000) (0:0:0))
        (INTERCONNECT core.post_processor.b/Q core.store.x/B (100:150:200) (0:0:0))
        (INTERCONNECT core.store.x/F core.post_processor.c/DI (100:200:300) (0:0:0))
        (INTERCONNECT core.store.x/F core.store.bank_0.m/ADA0 (100:200:3000) (0:0:0))
        (INTERCONNECT core.store.bank_0.m/DOB0 core.store.bank_0.y\\$z/A (100:200:400) (0:0:0))
        (INTERCONNECT core.store.bank_0.y\\$z/F out/DI (100:200:500) (0:0:0))
        (INTERCONNECT core.post_processor.b/Q core.array.pe_0_0.slice_0.alu/OP4 (100:200:600) (0:0:0))
        (INTERCONNECT core.array.pe_0_0.slice_0.alu/R20 core.array.pe_0_0.d/DI (100:200:700) (0:0:0))
    ))
  )
  (CELL (CELLTYPE "TRELLIS_FF")
    (INSTANCE core.post_processor.pipeline.a)
    (DELAY (ABSOLUTE
        (IOPATH CLK Q (430:477:525) (430:477:525))
    ))
  )
  (CELL (CELLTYPE "TRELLIS_FF")
    (INSTANCE core.post_processor.b)
    (DELAY (ABSOLUTE
        (IOPATH CLK Q (430:477:525) (430:477:525))
    ))
  )
  (CELL (CELLTYPE "TRELLIS_COMB")
    (INSTANCE core.store.x)
    (DELAY (ABSOLUTE
        (IOPATH A F (200:218:240) (200:218:240))
        (IOPATH B F (200:218:236) (200:218:236))
    ))
  )
  (CELL (CELLTYPE "TRELLIS_COMB")
    (INSTANCE core.store.bank_0.y\\$z)
    (DELAY (ABSOLUTE
        (IOPATH A F (200:218:240) (200:218:240))
    ))
  )
  (CELL (CELLTYPE "DP16KD")
    (INSTANCE core.store.bank_0.m)
    (DELAY (ABSOLUTE
        (IOPATH CLKB DOB0 (5795:5812:5830) (5795:5812:5830))
    ))
    (TIMINGCHECK
      (SETUPHOLD (posedge ADA0) (posedge CLKA) (10:20:30) (267:285:303))
    )
  )
  (CELL (CELLTYPE "TRELLIS_FF")
    (INSTANCE core.post_processor.c)
    (TIMINGCHECK
      (SETUPHOLD (posedge DI) (posedge CLK) (0:0:0) (267:285:303))
      (SETUPHOLD (negedge DI) (posedge CLK) (0:0:100) (267:285:303))
    )
  )
  (CELL (CELLTYPE "ALU54B")
    (INSTANCE core.array.pe_0_0.slice_0.alu)
  )
  (CELL (CELLTYPE "TRELLIS_FF")
    (INSTANCE core.array.pe_0_0.d)
    (TIMINGCHECK
      (SETUPHOLD (posedge DI) (posedge CLK) (0:0:0) (267:285:303))
    )
  )
  (CELL (CELLTYPE "TRELLIS_FF")
    (INSTANCE out)
    (TIMINGCHECK
      (SETUPHOLD (posedge DI) (posedge CLK) (0:0:0) (267:285:303))
    )
  )
)
"""


def test_the_worst_path_to_each_input() -> None:
    paths = {path.pins[-1][0]: path for path in worst_paths(Delays(iter(SDF.splitlines())))}
    memory, out, c = paths["core.store.bank_0.m"], paths["out"], paths["core.post_processor.c"]
    assert memory.pins == (
        ("core.post_processor.pipeline.a", "Q"),
        ("core.store.x", "A"),
        ("core.store.x", "F"),
        ("core.store.bank_0.m", "ADA0"),
    )
    assert memory.ns == pytest.approx(0.525 + 2 + 0.24 + 3 + 0.03)
    assert memory.logic_ns == pytest.approx(0.525 + 0.24 + 0.03)
    assert out.ns == pytest.approx(5.83 + 0.4 + 0.24 + 0.5)
    assert out.pins[1] == ("core.store.bank_0.y$z", "A")
    assert c.ns == pytest.approx(0.525 + 2 + 0.24 + 0.3 + 0.1)


def test_what_stands_for_the_ports_of_an_alu() -> None:
    paths = {path.pins[-1]: path.ns for path in worst_paths(Delays(iter(SDF.splitlines())))}
    assert paths["core.array.pe_0_0.slice_0.alu", "OP4"] == pytest.approx(0.525 + 0.6 + 0.084)
    assert paths["core.array.pe_0_0.d", "DI"] == pytest.approx(0.735 + 0.7)


def test_one_of_each_pair_of_components() -> None:
    paths = worst_paths(Delays(iter(SDF.splitlines())))
    worst = worst_by_component(paths, 3)
    through = [passed(path) for path in worst]
    assert through == [
        ["store", "pins"],
        ["post_processor pipeline", "store"],
        ["post_processor pipeline", "store", "post_processor"],
    ]
    assert [path.ns for path in worst] == sorted((path.ns for path in worst), reverse=True)
    assert len(worst_by_component(paths, 2)) == 2


def test_a_cell_belongs_to_the_component_in_its_name() -> None:
    assert component("core.array.pe_0_0.x_LUT4_Z") == "array"
    assert component("core.softmax_3.x_LUT4_Z") == "softmax"
    assert component("core.post_processor.pipeline.requantiser_0.x_LUT4_Z") == "post_processor pipeline"
    assert component("core.post_processor.x_LUT4_Z") == "post_processor"
    assert component("core.column_buffer.bank_7.x") == "column_buffer bank"
    assert component("core.x_LUT4_Z") == "between"
    assert component("captured_0_TRELLIS_FF_Q") == "pins"
