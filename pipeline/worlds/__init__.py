"""Simulated worlds: users, items and their modalities from a latent space whose truth is known."""
