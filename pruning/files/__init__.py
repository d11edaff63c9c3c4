"""Files from anybody, read within bounds: artefacts, checkpoints, configurations."""
