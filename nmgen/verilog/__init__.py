"""Verilog for people to read, and what goes with it to whoever takes it in."""
