"""Changes of the weights: what they are, how they are trained, what they cost."""
