"""Malformed files, a reference that counts their rows, and coverage-guided fuzzing of the loader."""
