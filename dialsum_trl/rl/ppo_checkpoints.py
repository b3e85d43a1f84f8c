"""PPO's checkpoints: the policy adapter as everywhere, and beside it what only a resumed run needs."""

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from dialsum_trl.core.console import say
from dialsum_trl.models.adapters import CRITIC, POLICY, adapter_state, load_adapter_state

CRITIC_FILE, WATCH_FILE = "critic.safetensors", "ppo_state.json"
HEAD_PREFIX = "value_head."


BEST_FOLDER = "best"


def put_best(output_dir: Path, fill) -> None:
    """Makes what `fill(folder)` writes the run's best adapter: written aside, then put in its place."""
    partial, old = output_dir / f".{BEST_FOLDER}.partial", output_dir / f".{BEST_FOLDER}.old"
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    fill(partial)
    if (output_dir / BEST_FOLDER).exists():
        (output_dir / BEST_FOLDER).rename(old)
    partial.rename(output_dir / BEST_FOLDER)
    shutil.rmtree(old, ignore_errors=True)


class PPOCheckpoints:
    """Trainer mixin: checkpoints with the critic's adapter and head, and with what the evaluations have seen."""

    best_report = None  # no checkpoint holds it: a resumed run measures it again where nothing better came

    def _run_epoch(self, *args, **kwargs):
        """As the trainer's; no step follows in a run that continues behind the one at which it was stopped."""
        if self.watch.tripped is None:
            return super()._run_epoch(*args, **kwargs)
        say(f"tripwire, {self.watch.tripped}; it stopped the run before this checkpoint, no step is made")
        self.control.should_training_stop = True

    def save_policy(self, folder) -> None:
        """Writes the policy adapter and the tokenizer."""
        self._save(str(folder))

    def keep_best(self) -> None:
        """Makes the policy of now the run's best adapter."""
        self.best_report = self.dev_rouge.report
        if not self.args.should_save:
            return

        def fill(folder: Path) -> None:
            self.save_policy(folder)
            self.write_record(folder)
            (folder / "best.json").write_text(json.dumps(self.watch.to_dict()) + "\n", encoding="utf-8")

        put_best(Path(self.args.output_dir), fill)

    def restore_best(self) -> None:
        """Puts the best adapter back into the policy, on every process; without evaluations the last one stays."""
        self.accelerator.wait_for_everyone()
        if self.watch.best_step is not None:
            self.load_policy_weights(Path(self.args.output_dir) / BEST_FOLDER)
            if self.best_report is None and self.dev_rouge is not None:
                self.dev_rouge.measure(self)
                self.best_report = self.dev_rouge.report
            if self.dev_rouge is not None:
                self.dev_rouge.report = self.best_report

    def load_policy_weights(self, folder) -> None:
        """Puts a saved policy adapter back in place."""
        load_adapter_state(self.model, load_file(Path(folder) / "adapter_model.safetensors"), POLICY)

    def save_model(self, output_dir=None, _internal_call=False):
        super().save_model(output_dir, _internal_call)
        if _internal_call and self.args.should_save:  # a checkpoint: what a resumed run needs beside the policy
            state = {k: v.contiguous() for k, v in adapter_state(self.model, CRITIC).items()}
            state |= {HEAD_PREFIX + name: value for name, value in self.model.value_head.state_dict().items()}
            save_file(state, Path(output_dir) / CRITIC_FILE)
            (Path(output_dir) / WATCH_FILE).write_text(json.dumps(self.watch.to_dict()) + "\n", encoding="utf-8")
            if self.watch.best_step is not None:  # what the evaluations after this checkpoint may replace
                best = Path(self.args.output_dir) / BEST_FOLDER
                shutil.copytree(best, Path(output_dir) / BEST_FOLDER)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        folder = Path(resume_from_checkpoint)
        self.load_policy_weights(folder)
        state = load_file(folder / CRITIC_FILE)
        head = {k.removeprefix(HEAD_PREFIX): state.pop(k) for k in list(state) if k.startswith(HEAD_PREFIX)}
        self.model.value_head.load_state_dict(head)
        load_adapter_state(self.model, state, CRITIC)
        self.watch.load(json.loads((folder / WATCH_FILE).read_text(encoding="utf-8")))
        if self.watch.best_step is not None and self.args.should_save:
            best = folder / BEST_FOLDER
            put_best(Path(self.args.output_dir), lambda partial: shutil.copytree(best, partial, dirs_exist_ok=True))
