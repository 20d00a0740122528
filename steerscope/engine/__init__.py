"""Many conditions at once: generation, score, calibration, matched KL, gathering, searches."""
