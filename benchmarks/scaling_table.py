"""The tables of docs/scaling.md from the formula: memory, time and traffic by model, configuration and number of GPUs.

    python -m benchmarks.scaling_table

Nothing is measured here. Compute time is `memory.plan`'s for 80 GiB (fitted to one H100), traffic `network.load`'s; no
overlap of communication and compute is assumed. docs/scaling.md compares the estimates with measured efficiencies.
"""

from benchmarks.network import LINKS, efficiency, load
from dialsum_trl.training.estimate import known_shape, row_lengths
from dialsum_trl.training.plan.memory import plan
from dialsum_trl.training.plan.schedule import Schedule

MODELS = {"3B": "Bllossom/llama-3.2-Korean-Bllossom-3B", "8B": "MLP-KTLim/llama-3-Korean-Bllossom-8B"}
COUNTS, BUDGET_GIB = (1, 2, 4, 8, 16, 32, 64), 80


def compute(shape, lengths: list[int], rows_per_step: int, processes: int):
    """The plan of one process' share of a step, or None when a process has no row."""
    if rows_per_step % processes:
        return None

    def largest(micro_batches: int) -> int:
        return Schedule(lengths, rows_per_step, micro_batches * processes, processes, 42).largest(1)

    choices = [count for count in (1, 2, 3, 4, 6, 8, 12, 16) if count * processes <= rows_per_step]
    return plan(shape, largest, choices, BUDGET_GIB)


def row(cells) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def main() -> None:
    lengths = [min(length, 1024) for length in row_lengths(None, MODELS["3B"], {})]
    print("Held by one GPU before activations, GiB (4-bit, LoRA r 16)\n")
    kinds = ("ddp", "zero2", "zero3", "fsdp")
    print(row(["model", "GPUs", *kinds]) + "\n" + row(["---"] * 6))
    for name, model in MODELS.items():
        shape = known_shape(model, "main", 16, "4bit")
        for count in (2, 8):
            print(row([name, count, *(f"{load(shape, kind, count).resident_gib:.1f}" for kind in kinds)]))
    print("\nSent by one GPU per step of one micro-batch, MB\n")
    print(row(["model", "GPUs", *kinds]) + "\n" + row(["---"] * 6))
    for name, model in MODELS.items():
        shape = known_shape(model, "main", 16, "4bit")
        for count in (2, 8, 64):
            loads = [load(shape, kind, count) for kind in kinds]
            print(row([name, count, *(f"{(x.gradient_bytes + x.weight_bytes) / 1e6:.0f}" for x in loads)]))
    for name, model in MODELS.items():
        shape = known_shape(model, "main", 16, "4bit")
        for rows_per_step in (64, 512):
            print(f"\n{name}, DDP, {rows_per_step} rows per step: seconds of compute, then efficiency over each link\n")
            print(row(["GPUs", "rows per GPU", "s", *LINKS]) + "\n" + row(["---"] * (3 + len(LINKS))))
            one = compute(shape, lengths, rows_per_step, 1).seconds
            for count in COUNTS:
                share = compute(shape, lengths, rows_per_step, count)
                wire = load(shape, "ddp", count)
                found = [efficiency(one, share.seconds + wire.seconds(link), count) for link in LINKS.values()]
                cells = [count, rows_per_step // count, f"{share.seconds:.2f}", *(f"{value:.2f}" for value in found)]
                print(row(cells))


if __name__ == "__main__":
    main()
