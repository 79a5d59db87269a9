"""The stages of a run, one a file; each writes what it has done, whole or not at all, and is skipped if it is there."""
