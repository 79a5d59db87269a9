"""Experiments: their files, run folders, stages and reports."""
