"""Rooms of the report: figures (what is counted), plots (SVG), page (the figures in words, with template and style)."""
