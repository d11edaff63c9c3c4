"""Encoders of BERT's family: what reads, trains, scores and compiles them."""
