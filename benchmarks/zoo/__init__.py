"""Families of models, tiny and random, and what steerscope makes of each on both backbones."""
