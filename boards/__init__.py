"""Boards: platforms, clocks, pins and the self-test image around rtl's top. No arithmetic of the layer."""
