"""Latent structures over a family: how rows and components belong together."""
