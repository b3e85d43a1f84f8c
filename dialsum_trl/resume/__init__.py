"""Runs that survive: whole checkpoints, resuming only the same run, one line where room ran out."""
