"""What gives texts a score, one file each."""
