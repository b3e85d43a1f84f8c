"""Weights that a model holds once under several names, in the files of a run that is split."""


class TiedWeightsOnce:
    """Trainer mixin: a saved model holds a tied weight once, as one process writes it.

    Under DeepSpeed every tensor is copied before it is saved: nothing tells then that two of them are one.
    """

    def _save(self, output_dir=None, state_dict=None):
        if state_dict is not None:
            tied = getattr(self.accelerator.unwrap_model(self.model), "all_tied_weights_keys", None) or {}
            state_dict = {name: each for name, each in state_dict.items() if tied.get(name) not in state_dict}
        super()._save(output_dir, state_dict)
