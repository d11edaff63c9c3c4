"""What the hardware has to compute, in plain integers: a layer, each instruction, and the units' twins."""
