"""The bundled world: grammar, oracle, tokenizer, training and evaluation of a small model.

The truth about its texts is known, so that effects and damage are measured and not guessed.
"""
