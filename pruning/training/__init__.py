"""The training loop, what a model is trained for, and how good it is."""
