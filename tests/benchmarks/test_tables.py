"""Every table of README and docs that shows measured or computed figures shows those of benchmarks/."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import ppo_learns, scaling_table
from benchmarks.record import RESULTS

ROOT = RESULTS.parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FIGURE = re.compile(r"\d\.\d|\d,\d{3}|^\d+$")  # what looks measured: a decimal, a number of thousands, a bare number
QUOTED = {  # first header cells of tables whose numbers are settings, symptoms, or quoted from elsewhere
    ("docs/design_figures.md", "figure in the design"),
    ("docs/sharing.md", "tool"),
    ("docs/phase3.md", "what"),
    ("docs/nikl.md", ""),
}


def read(name: str):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def by_variant(name: str) -> dict:
    return {row["variant"]: row for row in read(name)}


def tables(page: Path) -> list[tuple[list[str], list[list[str]]]]:
    """Header and rows of every table of a page, cells without bold."""
    found, lines = [], page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if re.fullmatch(r"\|([-: ]+\|)+", line):
            rows = []
            for row in lines[number + 1 :]:
                if not row.startswith("|"):
                    break
                rows.append(cells(row))
            found.append((cells(lines[number - 1]), rows))
    return found


def cells(line: str) -> list[str]:
    return [cell.replace("**", "").strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def head() -> list[list[str]]:
    sft = {
        name: f"{row['tokens_per_second']:,}"
        for name, row in by_variant("sft_speed").items()
        if "tokens_per_second" in row
    }
    made = by_variant("generation_speed")
    theirs, ours = "transformers generate, greedy, nf4, one batch of 64", "ours, greedy, base kept in nf4"
    demo = read("pipeline_demo")["systems"]
    zero, tuned = (f"{demo[name]['mean']:.2f}" for name in ("zero-shot", "SFT"))
    return [
        [f"plain TRL {sft['plain']}; Unsloth {sft['unsloth']}", sft["ours"]],
        ["", sft["ours_8gib"]],
        [f"transformers {made[theirs]['new_tokens_per_second']:,}", f"{made[ours]['new_tokens_per_second']:,}"],
        [f"zero-shot {zero}", tuned],
    ]


def recipes() -> list[list[str]]:
    fits, speed = read("recipes_on_gpu"), by_variant("sft_speed")["ours"]
    rows = {}
    for row in fits:
        limit, memory = f"within {row['memory_gib']} GiB {row['tokens_per_second']:,}", row["peak_reserved_gib"]
        rows[row["variant"].split(",")[0]] = [limit, f"{memory:.1f} GiB"]
    small = rows["sft_llama3b"]
    rows["sft_llama3b"] = [f"{speed['tokens_per_second']:,}; {small[0]}", f"{speed['reserved_gib']:.1f}; {small[1]}"]
    measured = [rows[name] for name in ("sft_llama3b", "sft_llama8b", "sft_qwen25_7b", "sft_qwen3_4b")]
    return [*measured, ["", ""]]  # sft.py has no model of its own


def training() -> list[list[str]]:
    rows = [by_variant("sft_speed")[name] for name in ("plain", "trl_packing", "unsloth", "ours_8gib", "ours")]
    return [
        [f"{row['tokens_per_second']:,}", f"{row['percent_of_ceiling']} %", f"{row['reserved_gib']:.1f}"]
        for row in rows
    ]


def families() -> list[list[str]]:
    found = {(row["variant"], row["shape"]): row for row in read("sft_families")}
    assert all(
        row["ours_against_float32"]["smallest_cosine"] > 0.999 for row in found.values() if row["variant"] == "equality"
    )
    rows = []
    for shape in ("gemma3_4b", "exaone4_1b", "qwen3_8b", "mistral_7b"):
        plain, ours, equal = (found[variant, shape] for variant in ("plain", "ours", "equality"))
        speeds = [row["tokens_per_second"] for row in (plain, ours)]
        rows.append(
            [
                *(f"{speeds[0]:,}", f"{plain['reserved_gib']:.1f}", f"{speeds[1]:,}"),
                *(f"{ours['percent_of_ceiling']} %", f"{ours['reserved_gib']:.1f}", f"{speeds[1] / speeds[0]:.1f}"),
                f"{equal['ours_against_float32']['smallest_cosine']:.4f}",
            ]
        )
    return rows


def generation() -> list[list[str]]:
    rows, generate = by_variant("generation_speed"), "transformers generate"
    names = (
        *(f"{generate}, greedy, nf4, one batch of 64", "ours, greedy, base kept in nf4", "ours, greedy"),
        *(f"{generate}, beam 4, bfloat16, one batch of 64", "ours, beam 4"),
    )
    return [[f"{rows[name]['seconds']:.2f}", f"{rows[name]['new_tokens_per_second']:,}"] for name in names]


def ppo_speed() -> list[list[str]]:
    parts = [f"{part}_s_a_rollout" for part in ("generation", "scoring", "learning")]
    names = [*parts, "seconds_a_step"]
    return [[f"{row['peak_gib']:.1f}", *(f"{row[name]:.2f}" for name in names)] for row in read("ppo_speed")]


def learned_reward() -> list[list[str]]:
    return [
        [
            " → ".join(f"{reward:.2f}" for reward in run["dev_rewards"]),
            " → ".join(f"{rouge:.2f}" for rouge in run["dev_rouge_means"]),
            f"{run['kl_highest']:.1f}",
            f"{run['cpu_s']:.1f}",
        ]
        for run in read("ppo_learns_learned")["runs"]
    ]


TRL_112 = ("ours", "trl==1.12.0")


def against_trl() -> list[list[str]]:
    rows = []
    for by in ("reward_last", "reward_minus_kl_last"):
        best = {(one["seed"], one["side"]): one for one in read("ppo_vs_trl112")["best"] if one["by"] == by}
        shown = (
            "{0[reward_last]:.3f} at KL {0[kl_last]:.1f}" if by == "reward_last" else "{0[reward_minus_kl_last]:.3f}"
        )
        rows += [[shown.format(best[seed, side]) for side in TRL_112] for seed in (1, 2, 3)]
        rows.append([f"{sum(best[seed, side][by] for seed in (1, 2, 3)) / 3:.3f}" for side in TRL_112])
    return rows


PLAIN = "fsdp_one"  # the layers of FSDP2, on one GPU
TWO = (  # file of each call of benchmarks.scaling, and its runs in the order of the table
    ("llama3b_2", "single_gpu share ddp"),
    ("llama3b_2_split", f"single_gpu {PLAIN} deepspeed_zero2 deepspeed_zero3"),
    ("llama3b_2_fsdp", f"{PLAIN} fsdp"),
    ("llama8b_2", "single_gpu ddp deepspeed_zero2 deepspeed_zero3"),
    ("llama8b_2_fsdp", "single_gpu fsdp"),
    ("llama8b_2_plain", f"{PLAIN} fsdp deepspeed_zero3"),
)
FOUR = (
    ("llama3b_4", "single_gpu ddp deepspeed_zero2 deepspeed_zero3 fsdp"),
    ("llama3b_4_256", "single_gpu ddp"),
    ("llama8b_4", "single_gpu ddp deepspeed_zero2"),
)


def scaling(calls) -> list[list[str]]:
    rows = []
    for name, runs in calls:
        found = by_variant(f"scaling_{name}")
        first = runs.split()[0]
        for run in runs.split():
            one, of = found[run], found[run]["tokens_per_second"] / found[first]["tokens_per_second"]
            efficiency = f"{of / one['processes']:.3f}" + (" of the plain path" if first == PLAIN else "")
            difference = []
            if first != PLAIN and run != "share":
                difference.append(f"{100 * one['relative_difference_of_b']:.1f} %")
            if first == PLAIN or (PLAIN in found and run == "deepspeed_zero3"):
                difference.append(f"{100 * one['relative_difference_of_b_from_plain']:.1f} % to the plain path")
            rows.append(
                [
                    *(str(one["processes"]), f"{one['tokens_per_second']:,}", "" if run == first else efficiency),
                    *(f"{one['seconds_a_step']:.3f}", f"{one['peak_gib']:.1f}"),
                    "" if run == first else "; ".join(difference),
                ]
            )
    return rows


def traffic() -> list[list[str]]:
    rows = scaling_table.traffic()
    assert all(row[-1] == row[-2] for row in rows)  # ZeRO-3 and FSDP2 share a column
    return [row[1:-1] for row in rows]


SHOWN = {  # page, first header cell -> the right-hand columns of its tables, in their order
    ("README.md", "measured"): [head],
    ("README.md", "recipe"): [recipes],
    ("README.md", "training"): [training],
    ("README.md", "family's shape"): [families],
    ("README.md", "generation (499 prompts x 64 new tokens, bf16 copy of the nf4 base)"): [generation],
    ("docs/phase3.md", "shape"): [ppo_speed],
    ("docs/phase3.md", "seed"): [learned_reward, against_trl],
    ("docs/scaling.md", "run"): [lambda: scaling(TWO), lambda: scaling(FOUR)],
    ("docs/scaling.md", "model"): [lambda: [row[1:] for row in scaling_table.memory()], traffic],
    ("docs/scaling.md", "GPUs"): [
        lambda: scaling_table.time("3B", 64, (1, 2, 4, 8)),
        lambda: scaling_table.time("3B", 512, (1, 8, 16, 32, 64)),
        lambda: scaling_table.time("8B", 64, (1, 2, 4, 8)),
    ],
}
# tests/toy/test_story.py, tests/core/test_cards.py and tests/benchmarks/test_models.py compare them
BY_ITS_COMMAND = {
    ("README.md", "step"),
    ("docs/pipeline.md", "step"),
    ("docs/gpus.md", "card"),
    ("docs/models.md", "model"),
}


@pytest.mark.parametrize(("page", "first"), SHOWN)
def test_a_table_shows_what_its_benchmark_wrote(page, first):
    found = [rows for header, rows in tables(ROOT / page) if header[0] == first]
    assert len(found) == len(SHOWN[page, first])
    for rows, figures in zip(found, SHOWN[page, first], strict=True):
        expected = figures()
        assert [row[-len(expected[0]) :] for row in rows] == expected


def test_every_table_with_figures_is_compared_with_its_benchmark():
    known = set(SHOWN) | BY_ITS_COMMAND | QUOTED
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        for header, rows in tables(page):
            figures = [cell for row in rows for cell in row[1:] if FIGURE.search(re.sub(r"`[^`]*`", "", cell))]
            assert not figures or (name, header[0]) in known, (name, header, figures[:3])


def prose(page: str) -> str:
    return " ".join((ROOT / page).read_text(encoding="utf-8").split())


def listed(values, form: str) -> str:
    """`1, 2 and 3`."""
    *head, last = (format(value, form) for value in values)
    return f"{', '.join(head)} and {last}"


@pytest.mark.parametrize("page", ["README.md", "docs/phase3.md"])
def test_ppos_figures_stand_beside_the_settings_they_were_reached_with(page):
    runs, flags = read("ppo_learns_rouge")["runs"], ppo_learns.PPO
    settings = {name: flags[flags.index(f"--{name}") + 1] for name in ("kl_coef", "kl_target")}
    assert {run["kl_target"] for run in runs} == {float(settings["kl_target"])}
    assert f"`--kl_coef {settings['kl_coef']} --kl_target {settings['kl_target']}`" in prose(page)
    assert f"gains {listed((100 * run['gained_of_distance_to_1'] for run in runs), '.0f')} % of the" in prose(page)
    start, best = runs[0]["dev_start_rouge_mean"], listed((run["dev_best_rouge_mean"] for run in runs), ".1f")
    assert f"from {start:.1f} to {best}" in prose(page)
    assert f"KL rises to at most {max(run['kl_highest'] for run in runs):.1f} nats" in prose(page)


@pytest.mark.parametrize("page", ["README.md", "docs/phase3.md"])
def test_the_learned_reward_is_quoted_as_it_was_measured(page):
    result = read("ppo_learns_learned")
    start, *ends = result["test_rows"]
    assert f"{100 * result['reward_accuracy']:.1f} %" in prose(page)
    assert f"{100 * result['length_baseline']:.1f} %" in prose(page)
    assert f"from {start['reward']:.2f} to {listed((end['reward'] for end in ends), '.2f')}" in prose(page)
    assert f"{start['rouge_mean']:.1f} to {listed((end['rouge_mean'] for end in ends), '.1f')}" in prose(page)


def test_the_speed_of_a_ppo_step_and_the_memory_against_trl_are_quoted_as_measured():
    small, large = read("ppo_speed")
    computed = read("ppo_vs_trl112")["computed_at_3b_shape"]
    took = f"{small['seconds_a_step']:.1f} s at the 3B shape and {large['seconds_a_step']:.1f} s at 8B"
    assert f"takes {took}, in {small['peak_gib']:.1f} and {large['peak_gib']:.1f} GiB" in prose("README.md")
    for page in ("README.md", "docs/phase3.md"):
        assert f"{computed['ours_gib']} GiB" in prose(page) and f"against {computed['trl112_gib']}" in prose(page)


def test_the_readme_quotes_losses_gradients_and_cpu_seconds_as_measured():
    readme, speed, curves = prose("README.md"), by_variant("sft_speed"), by_variant("sft_unsloth")["curves"]
    times = speed["ours"]["tokens_per_second"] / speed["plain"]["tokens_per_second"]
    assert f"{times:.0f} times as fast as the same settings in plain TRL" in readme
    cosines = [speed["equality"][f"{side}_against_float32"]["mean_cosine"] for side in ("ours", "plain")]
    assert "float32 gradients is {:.4f}, plain TRL's {:.4f}".format(*cosines) in readme
    gap = max(range(50), key=lambda step: abs(curves["plain"][step] - curves["ours"][step]))
    assert (
        f"differ by {curves['mean_gap']:.2f} on average and by {curves['largest_gap']:.2f} at most, at step {gap + 1}"
        in readme
    )
    rouge, mbr = (read(f"{name}_speed")["first_call"]["seconds"] for name in ("rouge", "mbr"))
    assert f"takes {rouge:.1f} s, consensus (MBR) of 499 x 16 candidates {mbr:.1f} s" in readme


def test_the_family_that_falls_short_is_named_with_what_takes_its_time():
    rows = {row["shape"]: row for row in read("sft_families") if row["variant"] == "ours"}
    assert [shape for shape, row in rows.items() if row["percent_of_ceiling"] < 55] == ["exaone4_1b"]
    shares = rows["exaone4_1b"]["percent_of_step"]
    products, attention, lora, idle = (shares[name] for name in ("matrix products", "attention", "lora", "idle"))
    said = f"matrix products take {products:.0f} % of a step, and attention with heads of 64 ({attention:.0f} %), LoRA"
    assert f"{said} ({lora:.0f} %) and the gaps between kernels ({idle:.0f} %)" in prose("README.md")


def test_what_docs_say_of_trl_112_is_what_its_runs_took():
    runs = {side: [run for run in read("ppo_vs_trl112")["runs"] if run["side"] == side] for side in TRL_112}
    seconds, memory = (
        [(min(run[key] for run in runs[side]), max(run[key] for run in runs[side])) for side in TRL_112]
        for key in ("cpu_s", "peak_rss_mib")
    )
    (ours, trl), phase3 = [f"{low:.0f}-{high:.0f}" for low, high in seconds], prose("docs/phase3.md")
    assert f"Ours takes {ours} processor seconds per run, trl {trl}" in phase3
    gib = [f"{low / 1024:.1f}-{high / 1024:.1f}" for low, high in memory]
    assert f"whole processes: {gib[0]} GiB against {gib[1]}" in phase3
    states = [f"{runs[side][0]['weights_and_states_mib']:.0f}" for side in TRL_112]
    assert "take {} MiB against {} on the toy".format(*states) in phase3


@pytest.mark.parametrize("name", ["scaling_llama3b_2_tasks", "scaling_llama3b_4"])
def test_what_docs_say_of_ppo_on_several_gpus_is_what_it_took(name):
    ppo = by_variant(name)["ppo"]
    said = f"PPO under DDP took {ppo['seconds']} s for four steps, in {ppo['peak_gib']:.1f} GiB per GPU"
    assert ppo["steps"] == 4 and said in prose("docs/scaling.md")


def test_what_docs_say_of_two_h100_and_of_decoding_on_four_h200_is_what_was_measured():
    one, ddp = (by_variant("scaling_llama3b_2_tasks")[name] for name in ("single_gpu", "ddp"))
    speeds = f"one GPU {one['tokens_per_second']:,} tok/s, DDP {ddp['tokens_per_second']:,} ({ddp['efficiency']};"
    assert speeds in prose("docs/scaling.md")
    predict = by_variant("scaling_llama3b_4")["predict"]
    said = f"wrote {predict['rows']} summaries, of which only {predict['rows_equal_to_one_process']} were identical"
    assert said in prose("docs/scaling.md")


def test_the_losses_of_the_fast_path_in_float32_are_padded_trls_to_1e_5():
    curves = by_variant("sft_curves")["padded and fast, float32, no dropout"]
    gaps = [abs(plain - ours) for plain, ours in zip(curves["plain"], curves["ours"], strict=True)]
    assert len(gaps) == 50 and max(gaps) < 1.5e-5  # losses are kept to five decimals
