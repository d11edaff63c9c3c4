"""Which model on which accelerator: candidates times configurations, and the Pareto front of the pairs."""
