"""What steering does to the answers of a benchmark."""
