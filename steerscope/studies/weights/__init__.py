"""Edits of weight spectra, their controls, and the sweep that judges them."""
