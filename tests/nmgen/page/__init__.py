"""Pages, also in a browser."""
