"""What comes out of the array, or of NORM, POOL and GATHER, on its way to the stores and to memory."""
