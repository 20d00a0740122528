"""How well attention is kernel ridge regression, and how wide its own gaps are: the premise of the eigengap."""
