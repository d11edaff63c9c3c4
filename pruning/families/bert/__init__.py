"""Encoders of BERT's family, from the Hugging Face folder to every integer of the accelerator."""
