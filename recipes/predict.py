"""Summaries, scores and a submission from a base model or an adapter.

    accelerate launch recipes/predict.py --adapter_path outputs/sft_llama3b --test_file data/dev.csv
    accelerate launch recipes/predict.py --model_name_or_path Qwen/Qwen3-4B-Instruct-2507 --test_file data/dev.csv
    ... --test_file data/test.csv --template data/sample_submission.csv

The second is the zero-shot evaluation. The default is beam 4 with at most 100 new tokens; --num_beams 1 is greedy.
"""

from dialsum_trl import predict

RECIPE = dict()

if __name__ == "__main__":
    predict(RECIPE)
