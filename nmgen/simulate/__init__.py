"""A program on the emitted Verilog against the golden machine, and its timeline."""
