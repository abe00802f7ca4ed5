"""Writes the test vectors. One file for each subject; `generate.py` beside this folder is the entry."""
