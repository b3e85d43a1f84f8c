"""The effect of each post-processing rule on dev, and the repaired submission.

    python recipes/postprocess.py --prediction_file outputs/predict/submission.csv --test_file data/dev.csv
    ... --prediction_file test/submission.csv --test_file data/test.csv --rules masks strip --output_file repaired.csv

The first prints the change of the ROUGE mean by each rule, with its 95 % interval. Choose rules on dev, then apply them
to test.
"""

from dialsum_trl import postprocess

RECIPE = dict()

if __name__ == "__main__":
    postprocess(RECIPE)
