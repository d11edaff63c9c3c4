"""From a model's integers to a program of STA, and the program's file."""
