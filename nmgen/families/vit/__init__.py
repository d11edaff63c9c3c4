"""Vision transformers: what reads, trains, scores and compiles them."""
