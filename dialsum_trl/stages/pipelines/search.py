"""Trials of SFT that Optuna proposes: a journal on the disk, pruning by dev ROUGE, one table, one chosen YAML."""

from dataclasses import asdict
from pathlib import Path

import yaml
from transformers import TrainerCallback

from dialsum_trl.core.console import is_main_process, say, table
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import write_text
from dialsum_trl.core.journal import check_same
from dialsum_trl.core.lock import sole_writer
from dialsum_trl.models.base import loaded_once
from dialsum_trl.stages.common.run import watched_by
from dialsum_trl.stages.common.sampling import free_memory
from dialsum_trl.stages.pipelines.steps import as_flags, trained
from dialsum_trl.stages.sft import train_sft
from dialsum_trl.training.distributed.once import once

try:
    import optuna
except ImportError:  # an extra
    optuna = None

JOURNAL, CHOSEN, METRIC = "search.journal", "chosen.yaml", "eval_rouge_mean"


class Reporter(TrainerCallback):
    """Tells the study of each evaluation, and ends a trial that is to be pruned; the first process decides."""

    def __init__(self, trial, prune: bool):
        self.trial, self.prune = trial, prune

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        def worse() -> bool:
            self.trial.report(metrics[METRIC], state.global_step)
            return self.prune and self.trial.should_prune()

        if state.global_step < state.max_steps and once(worse):
            raise optuna.TrialPruned


class Study:
    """Optuna's study in a journal file, on the first process.

    Raises:
        InputError: the journal is of another search.
    """

    def __init__(self, folder: Path, asked: dict, instructions: list[str], args):
        storage = optuna.storages.journal
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            study_name="search",
            storage=storage.JournalStorage(storage.JournalFileBackend(str(folder / JOURNAL))),
            load_if_exists=True,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
        )
        self.study.sampler = optuna.samplers.TPESampler(seed=args.seed + len(self.study.trials))
        self.args, self.instructions, self.trial = args, instructions, None
        check_same(f"{folder}: is a search with", self.study.user_attrs.get("asked", asked), asked)
        self.study.set_user_attr("asked", asked)
        for stopped in self.study.get_trials(states=[optuna.trial.TrialState.RUNNING]):  # by a kill: goes on
            self.study.tell(stopped.number, state=optuna.trial.TrialState.FAIL)
            self.study.enqueue_trial(stopped.params, user_attrs={"place": stopped.user_attrs.get("place")})

    def finished(self) -> list:
        """The trials that ended, pruned or not."""
        states = optuna.trial.TrialState
        return self.study.get_trials(states=[states.COMPLETE, states.PRUNED])

    def scored(self) -> list[dict]:
        """`{"place", "settings", "score"}` of each finished trial; None if pruned: Optuna keeps its last score."""
        done = optuna.trial.TrialState.COMPLETE
        return [{**each.user_attrs, "score": each.value if each.state == done else None} for each in self.finished()]

    def ask(self) -> tuple[str, dict] | None:
        """Folder and settings of the next trial; None where as many were made as asked for."""
        if len(self.finished()) >= self.args.trials:
            return None
        self.trial = trial = self.study.ask()
        settings = {"learning_rate": trial.suggest_float("learning_rate", *self.args.search_learning_rate, log=True)}
        for name in ("lora_r", "num_train_epochs", "lora_dropout"):
            settings[name] = trial.suggest_categorical(name, getattr(self.args, f"search_{name}"))
        prompt = trial.suggest_categorical("instruction", list(range(len(self.instructions))))
        settings |= {"lora_alpha": 2 * settings["lora_r"], "instruction": [self.instructions[prompt]]}
        place = trial.user_attrs.get("place") or f"trial{trial.number}"
        trial.set_user_attr("place", place)
        trial.set_user_attr("settings", settings)
        return place, settings

    def tell(self, score: float | None) -> None:
        """The score of the trial that was asked for; None: pruned."""
        pruned = optuna.trial.TrialState.PRUNED if score is None else None
        self.study.tell(self.trial.number, score, state=pruned)


def adjust(values: dict, given: set[str]) -> None:
    """Raises InputError where a model or dev rows are missing."""
    if not values["model_name_or_path"]:
        raise InputError("no model: give --model_name_or_path, a Hub id or the folder of a base model")
    if not values["eval_file"] and not values["dataset_name"]:
        raise InputError("no dev rows to choose by: give --eval_file dev.csv")


def run(data, prompt, model_args, rouge, args) -> dict:
    """Makes the trials that are left; returns what was chosen and all of them.

    Raises:
        InputError: Optuna is missing, or the folder holds another search.
    """
    if optuna is None:
        raise InputError('recipes/search.py needs Optuna: pip install "dialsum-trl[search]"')
    root = Path(args.output_dir)
    rows = {name: value for name, value in asdict(data).items() if value is not None}
    how = {**as_flags(model_args, prompt, args), **rows, **vars(rouge), "seed": args.seed, **SCORED, **args.sft}
    asked = {**{name: str(value) for name, value in how.items()}, **spaces(args), "instruction": prompt.instruction}
    study: Study | None = None
    if is_main_process():
        sole_writer(root)
        study = Study(root, asked, prompt.instruction, args)
    with loaded_once():
        while (trial := once(lambda: study and study.ask())) is not None:
            place, settings = trial
            try:
                with watched_by(Reporter(study and study.trial, args.prune)):
                    score = trained(train_sft, root / place, **{**how, **settings})[METRIC]
            except optuna.TrialPruned:
                score = None
            free_memory()  # what the trial that was stopped held, when its error is gone
            if study:
                study.tell(score)
    trials = once(lambda: study and study.scored())
    done = [trial for trial in trials if trial["score"] is not None]
    best = max(done, key=lambda trial: trial["score"])["settings"]
    if is_main_process():
        chosen = {"model_name_or_path": model_args.model_name_or_path, **best, **args.sft}
        write_text(root / CHOSEN, yaml.safe_dump({"sft": chosen}, allow_unicode=True, sort_keys=False))
    names = [name for name in best if name != "lora_alpha"]
    ordered = sorted(trials, key=lambda trial: -1 if trial["score"] is None else trial["score"], reverse=True)
    lines = [
        (trial["place"], *(_short(trial["settings"][name]) for name in names), trial["score"]) for trial in ordered
    ]
    table("Trials by ROUGE mean on the dev rows, - where pruned", lines, ("trial", *names, "ROUGE"))
    say(f"chosen: {root / CHOSEN}; the dev rows chose it, so that its score there flatters")
    return {"chosen": best, "trials": trials}


SCORED = {"rouge_rows": "all", "metric_for_best_model": "rouge_mean", "save_total_limit": 1}


def spaces(args) -> dict:
    """What is searched."""
    return {name: value for name, value in vars(args).items() if name.startswith("search_")}


def _short(value: object) -> object:
    text = value[0] if isinstance(value, list) else value
    return f"{text:.2g}" if isinstance(text, float) else text if not isinstance(text, str) else text[:24]
