"""Bad inputs over every command, generated: `python -m tests.attacks` runs all and counts."""
