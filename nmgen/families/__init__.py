"""Families of models, a folder each: interface.py says what is in one. What prunes is in pruning/families/."""
