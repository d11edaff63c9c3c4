"""From floats to the integers that the hardware computes with, and the golden layer."""
