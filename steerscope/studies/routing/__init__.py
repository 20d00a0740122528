"""Vectors switched by the phase of a task, against the best single vector and against asking."""
