"""The emitted Verilog in a simulator: cocotb testbenches, the memory at the port, the runner."""
