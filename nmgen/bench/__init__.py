"""What writes the tables and figures of docs/, the demo, and random programs."""
