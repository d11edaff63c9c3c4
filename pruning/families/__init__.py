"""Families of models, a folder each."""
