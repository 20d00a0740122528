"""Which diagnostic of a layer tells beforehand how well it steers."""
