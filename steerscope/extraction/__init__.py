"""Activations and gradients out of a model."""
