"""Malformed inputs, each with the command that meets it and what its one line must say."""
