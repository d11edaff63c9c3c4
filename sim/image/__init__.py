"""What lies in external memory before a run, packed as the hardware reads it, and the way back."""
