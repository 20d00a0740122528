"""The only door to TransformerLens and transformers: loading, the two backbones, caches, memory."""
