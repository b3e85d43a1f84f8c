"""Adapters x decoding x prompts on dev: a table, the best setting, and its submission. A stopped sweep continues.

    accelerate launch recipes/decoding_sweep.py --adapter_paths outputs/sft_llama3b outputs/instruction_tuned \
        --eval_file data/dev.csv --test_file data/test.csv --template data/sample_submission.csv
    ... --sweep_instruction "한 문장으로 요약하세요." "핵심만 쓰세요." --sweep_speech_rules fillers fillers+repeats
    ... --sweep_num_beams 1 4 8 --sweep_length_penalty 0.6 1.0 --sweep_max_new_tokens 100 175 --trials 12
"""

from dialsum_trl import decoding_sweep

RECIPE = dict()

if __name__ == "__main__":
    decoding_sweep(RECIPE)
