"""Cycles of a program, exact, without simulating it."""
