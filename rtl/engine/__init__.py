"""The matrix engine: one product a start. `accelerator.Accelerator` shows the data path on one screen."""
