"""Writes the test vectors. One file for each subject; the entry point is `generate.py` beside this folder."""
