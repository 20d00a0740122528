"""Whether what is learned from pairs of one concept moves choices in everyday dilemmas."""
