"""Which instruction is executed: fetched, checked, begun and ended."""
