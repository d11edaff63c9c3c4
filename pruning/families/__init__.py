"""Families of models, a folder each: interface.py says what is in one, known.py which there are."""
