"""A vector of one model carried to another by a linear map of their activations, and judged there."""
