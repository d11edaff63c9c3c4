"""Which weights stay: patterns, methods, the series, plans by layer."""
