"""STA: the accelerator that runs a whole Transformer encoder (Fang et al. 2022). `top.Sta` shows the data path."""
