"""Settings: YAML files of --config, and flags."""

from tests.bad_inputs.case import Case

SFT = "sft_llama3b --config {given}/my.yaml --train_file {given}/test.csv"
BASE = "use_cpu: true\ndtype: float32\n"
DEV = "--eval_file {given}/test.csv"
OUT_OF_BOUNDS = [
    ("lora_r", "0", "must be at least 1"),
    ("lora_r", "-4", "must be at least 1"),
    ("lora_alpha", "0", "must be at least 1"),
    ("lora_dropout", "1", "must be at least 0 and below 1"),
    ("seed", "-1", "must be at least 0"),
    ("learning_rate", "-1.0", "must be above 0"),
    ("learning_rate", "inf", "must be above 0 and finite"),
    ("weight_decay", "-1.0", "must be at least 0"),
    ("max_grad_norm", "-1.0", "must be at least 0"),
    ("max_grad_norm", "nan", "is not a number"),
    ("num_train_epochs", "0.0", "must be above 0"),
    ("max_steps", "0", "must be at least 1"),
    ("save_steps", "-5.0", "must be above 0"),
    ("per_device_train_batch_size", "0", "must be at least 1"),
    ("effective_batch_size", "-8", "must be at least 1"),
    ("memory_gib", "0.0", "must be above 0"),
    ("rouge_rows", "-2", "must be at least 0"),
    ("rouge_max_new_tokens", "0", "must be at least 1"),
]
ELSEWHERE = [
    ("predict", "bootstrap", "-1", "must be at least 0"),
    ("predict", "length_penalty", "nan", "is not a number"),
    ("predict", "top_p", "1.5", "must be above 0 and at most 1"),
    ("ensemble", "bootstrap", "-1", "must be at least 0"),
    ("ppo", "rollout_batch_size", "0", "must be at least 2"),
    ("ppo", "max_completion_length", "0", "must be at least 1"),
]


def yaml(name: str, content: str | bytes, *says: str, command: str = SFT) -> Case:
    return Case(f"yaml: {name}", command, {"my.yaml": content}, ("my.yaml", *says))


def flags(name: str, words: str, *says: str) -> Case:
    command = "sft_llama3b --use_cpu true --dtype float32 --train_file {given}/test.csv --output_dir {out}/new " + words
    return Case(f"flag: {name}", command, {}, says)


def command(name: str, stage: str, words: str, *says: str) -> Case:
    return Case(f"flag: {name}", f"{stage} {words}", {}, (words, *says))


CASES = [
    yaml("a tab for indentation", "sft:\n\tseed: 3\n", "line 2", "YAML"),
    yaml("a bracket never closed", "seed: [3\n", "YAML", "line"),
    yaml("a list", "- seed: 3\n", "`key: value` lines"),
    yaml("a text", "seed=3\n", "`key: value` lines"),
    yaml("a number as key", "3: seed\n", "`key: value` lines"),
    yaml("a list as key", "? [a, b]\n: 3\n", "YAML", "line 1"),
    yaml("two documents", "seed: 3\n---\nseed: 4\n", "YAML", "document"),
    yaml("a key twice", BASE + "seed: 3\nseed: 4\n", "line 4", "'seed' twice", "remove one"),
    yaml("a key twice in a section", "sft:\n  seed: 3\n  seed: 4\n", "line 3", "'seed' twice", "remove one"),
    yaml("a Python object", "seed: !!python/object/apply:os.system ['touch owned']\n", "line 1", "tag"),
    yaml("a Python name", "seed: !!python/name:os.system\n", "line 1", "tag"),
    yaml("a tag of its own", "seed: !mine 3\n", "line 1", "tag"),
    yaml("cp949", "title: 대화\n".encode("cp949"), "UTF-8"),
    yaml("utf-16", "seed: 3\n".encode("utf-16"), "UTF-8"),
    yaml("a NUL byte", b"seed: 3\0\n", "YAML"),
    yaml("an unknown key", BASE + "learing_rate: 1.0e-4\n", "unknown setting learing_rate", "learning_rate?"),
    yaml("an unknown key in the section", "sft:\n  lr: 1.0e-4\n", "unknown setting lr", "--learning_rate"),
    yaml("a section that is a list", "sft: [1, 2]\n", "section sft", "`key: value` lines"),
    yaml("a text for a number", BASE + "seed: many\n", "--seed", "'many'"),
    yaml("yes for a number", BASE + "seed: yes\n", "--seed", "'true'"),
    yaml("a number for a choice", BASE + "quantization: 4\n", "--quantization", "4bit"),
    yaml("a list for a path", BASE + "output_dir: [a, b]\n", "output_dir", "a list", "one value"),
    yaml("settings for a path", BASE + "output_dir: {a: b}\n", "output_dir", "settings", "one value"),
    yaml("an empty list", BASE + "lora_target_modules: []\n", "lora_target_modules", "expected at least one"),
    yaml("null for a number", BASE + "lora_r: null\n", "lora_r is null, and needs a value"),
    yaml("lists in a list", BASE + "lora_target_modules: [[q_proj]]\n", "lora_target_modules", "in a list"),
    yaml("code of strangers switched on", BASE + "trust_remote_code: true\n", "trust_remote_code", "command line"),
    Case("yaml: a folder", SFT, lambda p: (p.given / "my.yaml").mkdir(), ("my.yaml", "directory", "YAML file")),
    Case("yaml: nothing there", SFT, {}, ("my.yaml", "No such file", "path of a YAML file")),
    flags("an unknown flag", "--learing_rate 1", "--learing_rate", "--learning_rate?"),
    flags("a flag cut short", "--learning 1", "--learning", "did you mean"),
    flags("a text for a number", "--seed many", "--seed", "'many'"),
    flags("no value", "--seed", "--seed", "expected one argument"),
    flags("no such choice", "--quantization 3bit", "--quantization", "4bit"),
    *(
        flags(f"{name} {value}", f"--{name} {value}", f"--{name} {value}", words)
        for name, value, words in OUT_OF_BOUNDS
    ),
    *(command(f"{stage} --{name}", stage, f"--{name} {value}", words) for stage, name, value, words in ELSEWHERE),
    yaml("a number out of its bounds", BASE + "lora_r: 0\n", "--lora_r 0", "at least 1"),
    flags("a tracker that nobody knows", "--report_to nothing", "--report_to nothing", "tensorboard"),
    flags("a tracker that is not installed", "--report_to clearml", "--report_to clearml", "pip install clearml"),
    flags(
        "an old name that the recipe's new one hides",
        "--gradient_checkpointing false",
        "--gradient_checkpointing",
        "--activation_checkpointing",
    ),
    flags(
        "a metric that is not measured", f"{DEV} --metric_for_best_model rouge", "rouge:", "loss, rouge_mean, rouge1"
    ),
    flags("a metric that is off", f"{DEV} --rouge_rows 0 --metric_for_best_model rougeL", "rougeL", "give one of loss"),
    *(
        flags(f"{wish} without dev rows", f"--{wish}", f"--{wish}: there are no dev rows", "--eval_file")
        for wish in ("metric_for_best_model rouge_mean", "load_best_model_at_end true", "eval_strategy steps")
    ),
    Case(
        "flag: a metric that KoBART's evaluation does not measure",
        "seq2seq_kobart --use_cpu true --dtype float32 --train_file {given}/test.csv --eval_file {given}/test.csv "
        "--output_dir {out}/new --metric_for_best_model rouge",
        {},
        ("--metric_for_best_model rouge", "rouge_mean", "rouge_sum"),
    ),
    flags("another mixed precision than the dtype's", "--fp16 true", "does not match --dtype float32"),
    flags("no such strategy", f"{DEV} --eval_strategy sometimes", "--eval_strategy"),
    flags("an empty path", "--output_dir=", "--output_dir is empty, which would be the working directory"),
    flags("--config without a path", "--config", "--config", "expected one argument"),
    flags("rows that do not divide", "--effective_batch_size 7", "7 rows per step", "--per_device_train_batch_size 7"),
    Case("flag: no rows", "sft_llama3b --use_cpu true --dtype float32 --output_dir {out}/new", {}, ("--train_file",)),
    Case(
        "flag: an output folder that is a file",
        "sft_llama3b --use_cpu true --dtype float32 --train_file {given}/test.csv --output_dir {given}/test.csv",
        {},
        ("--output_dir", "is no folder", "give another folder"),
    ),
]
