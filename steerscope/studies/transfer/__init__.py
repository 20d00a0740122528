"""What trained on one set of pairs does on another, adapters among the techniques."""
