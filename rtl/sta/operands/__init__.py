"""What goes into the array: activations by rows, weights, keys and values by columns."""
