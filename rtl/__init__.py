"""The accelerator in Amaranth. `engine.accelerator.Accelerator` shows the data path on one screen."""
