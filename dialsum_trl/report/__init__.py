"""The report of a pipeline: one HTML file that needs no network and runs no script.

figures: what is counted; plots: SVG; page: the figures in words; build: flags and files.
"""
