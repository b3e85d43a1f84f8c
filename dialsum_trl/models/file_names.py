"""Names of the files in a folder of weights (no imports)."""

MANIFEST = "files.json"
SETTINGS_FILE = "run.json"  # in a checkpoint: what `describe` returned
SCALE_FILE = "reward.json"  # beside a reward adapter: mean and standard deviation of its held-out scores
RUN_FILE = "dialsum.json"  # what a run used, beside the adapter; its layout is part of the file formats we keep
CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
INDEX = "model.safetensors.index.json"
