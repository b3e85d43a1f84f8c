"""What the `dialsum` command does, one flow a module."""
