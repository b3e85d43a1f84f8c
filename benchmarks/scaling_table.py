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
KINDS = ("ddp", "zero2", "zero3", "fsdp")
COUNTS, BUDGET_GIB = (1, 2, 4, 8, 16, 32, 64), 80


def compute(shape, lengths: list[int], rows_per_step: int, processes: int):
    """The plan of one process' share of a step, or None when a process has no row."""
    if rows_per_step % processes:
        return None

    def largest(micro_batches: int) -> int:
        return Schedule(lengths, rows_per_step, micro_batches * processes, processes, 42).largest(1)

    choices = [count for count in (1, 2, 3, 4, 6, 8, 12, 16) if count * processes <= rows_per_step]
    return plan(shape, largest, choices, BUDGET_GIB)


def memory() -> list[list[str]]:
    """Model, GPUs, and what one GPU holds before activations under each configuration, GiB (4-bit, LoRA r 16)."""
    return [
        [name, str(count), *(f"{load(shape, kind, count).resident_gib:.1f}" for kind in KINDS)]
        for name, shape in shapes().items()
        for count in (2, 8)
    ]


def traffic() -> list[list[str]]:
    """Model, GPUs, and what one GPU sends per step of one micro-batch under each configuration, MB."""
    rows = []
    for name, shape in shapes().items():
        for count in (2, 8, 64):
            loads = [load(shape, kind, count) for kind in KINDS]
            rows.append([name, str(count), *(f"{(x.gradient_bytes + x.weight_bytes) / 1e6:.0f}" for x in loads)])
    return rows


def time(name: str, rows_per_step: int, counts: tuple[int, ...] = COUNTS) -> list[list[str]]:
    """GPUs, rows per GPU, seconds of compute per step under DDP, and the efficiency over each link."""
    lengths, shape = [min(length, 1024) for length in row_lengths(None, MODELS["3B"], {})], shapes()[name]
    one = compute(shape, lengths, rows_per_step, 1).seconds
    rows = []
    for count in counts:
        share, wire = compute(shape, lengths, rows_per_step, count), load(shape, "ddp", count)
        found = [efficiency(one, share.seconds + wire.seconds(link), count) for link in LINKS.values()]
        cells = (f"{share.seconds:.2f}", *(f"{value:.2f}" for value in found))
        rows.append([str(count), str(rows_per_step // count), *cells])
    return rows


def shapes() -> dict:
    return {name: known_shape(model, "main", 16, "4bit") for name, model in MODELS.items()}


def show(title: str, header: list[str], rows: list[list[str]]) -> None:
    print(f"\n{title}\n")
    for cells in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    show("Held by one GPU before activations, GiB (4-bit, LoRA r 16)", ["model", "GPUs", *KINDS], memory())
    show("Sent by one GPU per step of one micro-batch, MB", ["model", "GPUs", *KINDS], traffic())
    for name in MODELS:
        for rows_per_step in (64, 512):
            title = f"{name}, DDP, {rows_per_step} rows per step: seconds of compute, then efficiency over each link"
            show(title, ["GPUs", "rows per GPU", "s", *LINKS], time(name, rows_per_step))


if __name__ == "__main__":
    main()
