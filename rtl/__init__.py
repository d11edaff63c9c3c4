"""The accelerator in Amaranth. `top.Accelerator` shows the data path on one screen."""
