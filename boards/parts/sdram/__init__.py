"""External memory: an SDRAM chip behind the accelerator's burst port and the host's link."""
