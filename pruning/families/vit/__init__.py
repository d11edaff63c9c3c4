"""Vision transformers, from the Hugging Face folder to every integer of the accelerator."""
