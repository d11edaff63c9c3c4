"""From Verilog to a placed and routed design: netlist, floorplan, router, reports, bitstreams."""
