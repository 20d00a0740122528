"""What is said to a model: contrast sets, prompts, styles, bundled files, batches of equal length."""
