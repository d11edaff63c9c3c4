"""Programs that are started, and signals that end them."""
