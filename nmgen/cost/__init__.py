"""What a configuration takes of an FPGA and how fast it is, without synthesis."""
