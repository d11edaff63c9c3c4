"""Text and pictures: from files, or written by this repository."""
