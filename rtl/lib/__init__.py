"""Parts that every design may use: registers that keep time, memories, comparisons, streams, ports, AXI."""
