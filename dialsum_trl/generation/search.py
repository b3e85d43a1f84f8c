"""Which token comes next: greedy, sampling and beam search over rows that may each be at another step.

All state lives in tensors with one row per prompt, and `advance` only reads and writes those tensors, so that it can be
part of a captured CUDA graph. A row has `width` candidates: its beams, or its independent samples.
"""

import numpy
import torch

from dialsum_trl.generation.settings import GenerationSettings

Seed = tuple[list[int], int]  # of a prompt, and the number of the sample
BLOCK = 128  # tokens of the vocabulary that are summed first in sampling
MASKED = -1.0e9  # what transformers adds to the score of a token that may not be chosen


class Search:
    """State and bookkeeping shared by all searches.

    Attributes:
        tokens: `(rows, width)` ids that the model reads next.
        step: `(rows,)` tokens generated so far.
        done: `(rows,)` nothing more will happen in this row.
        generated: `(rows, width, max_new_tokens)` ids of the running candidates.
    """

    def __init__(self, rows: int, width: int, settings: GenerationSettings, stop_ids: list[int], device: torch.device):
        self.settings, self.limit, self.width = settings, settings.max_new_tokens, width
        self.stop = torch.tensor(stop_ids, dtype=torch.long, device=device)
        self.fill = stop_ids[0] if stop_ids else -1  # after the end of a sequence, so that it is cut there
        self.tokens = torch.zeros(rows, width, dtype=torch.long, device=device)
        self.step = torch.zeros(rows, dtype=torch.long, device=device)
        self.done = torch.ones(rows, dtype=torch.bool, device=device)
        self.generated = torch.full((rows, width, self.limit), self.fill, dtype=torch.long, device=device)

    def state(self) -> list[torch.Tensor]:
        """Every tensor whose first dimension is the row: what moves when a row moves."""
        return [self.tokens, self.step, self.done, self.generated]

    def start(self, rows: torch.Tensor, last_tokens: torch.Tensor, seeds: list[Seed]) -> None:
        """Begins `rows` anew; `last_tokens` `(len(rows),)` end their prompts, `seeds` give their random numbers."""
        self.tokens[rows] = last_tokens[:, None].expand(-1, self.width)
        self.step[rows] = 0
        self.done[rows] = False
        self.generated[rows] = self.fill

    def is_stop(self, tokens: torch.Tensor) -> torch.Tensor:
        return (tokens[..., None] == self.stop).any(-1)

    def ban_repeats(self, logits: torch.Tensor) -> torch.Tensor:
        """Forbids tokens that would repeat an n-gram of the summary itself.

        The prompt is not counted, other than in transformers' decoder-only models: there `no_repeat_ngram_size`
        forbids every name of the dialogue, `#Person1#` first of all.
        """
        size = self.settings.no_repeat_ngram_size
        rows, width, _ = logits.shape
        if not size or size > self.limit:
            return logits
        written, step = self.generated[:rows], self.step[:rows, None]
        offsets = torch.arange(size - 1, device=logits.device)
        last = (step - size + 1 + offsets).clamp(min=0)[:, None].expand(-1, width, -1)
        windows = written.unfold(2, size, 1)  # (rows, width, limit - size + 1, size)
        same = (windows[..., :-1] == written.gather(2, last)[:, :, None]).all(-1)
        inside = torch.arange(windows.shape[2], device=logits.device) + size <= step
        banned = torch.where(same & inside[:, None], windows[..., -1], logits.shape[-1])
        mask = torch.zeros(rows, width, logits.shape[-1] + 1, dtype=torch.bool, device=logits.device)
        return logits.masked_fill(mask.scatter_(2, banned, True)[..., :-1], -torch.inf)


class Sampler(Search):
    """Greedy decoding, or one of `num_return_sequences` independent samples of a prompt in each row.

    Random numbers come from `(seed, prompt)` and the number of the sample alone, so a sample depends neither on its
    batch nor on its neighbours.
    """

    def __init__(self, rows, width, settings, stop_ids, device):
        super().__init__(rows, width, settings, stop_ids, device)
        self.ended = torch.zeros(rows, width, dtype=torch.bool, device=device)
        self.uniform = torch.zeros(rows, width, self.limit, device=device)

    def state(self):
        return [*super().state(), self.ended, self.uniform]

    def start(self, rows, last_tokens, seeds):
        super().start(rows, last_tokens, seeds)
        self.ended[rows] = False
        if self.settings.do_sample:
            shape = (self.settings.num_return_sequences, self.limit)
            draws = [
                numpy.random.default_rng(seed).random(shape, dtype=numpy.float32)[number : number + 1]
                for seed, number in seeds
            ]
            self.uniform[rows] = torch.from_numpy(numpy.stack(draws)).to(self.uniform.device)

    def advance(self, logits: torch.Tensor) -> None:
        """Chooses one token per candidate from `logits` `(n, width, vocabulary)`, for the first n rows."""
        n = logits.shape[0]
        step, live = self.step[:n], ~self.done[:n]
        at = step.clamp(max=self.limit - 1)[:, None, None].expand(-1, self.width, 1)
        logits = self.ban_repeats(logits)
        uniform = self.uniform[:n].gather(2, at)
        chosen = self.draw(logits, uniform) if self.settings.do_sample else logits.argmax(-1)
        written = self.generated[:n]
        written.scatter_(2, at, torch.where(live[:, None, None], chosen[..., None], written.gather(2, at)))
        self.ended[:n] |= self.is_stop(chosen)
        self.tokens[:n] = chosen
        step += live
        self.done[:n] |= self.ended[:n].all(1) | (step == self.limit)

    def draw(self, logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        """Inverts the cumulative distribution (temperature, then top-p) at `uniform` `(n, width, 1)`."""
        if self.settings.temperature != 1:
            logits = logits.float() / self.settings.temperature
        probabilities = logits.softmax(-1, dtype=torch.float32)
        if self.settings.top_p < 1:
            probabilities, order = probabilities.sort(-1, descending=True)
            before = probabilities.cumsum(-1) - probabilities
            probabilities = probabilities.masked_fill(before >= self.settings.top_p, 0.0)
        # the block of the vocabulary first, then the token in it: cumulative sums of all take longer than all else
        blocks = torch.nn.functional.pad(probabilities, (0, -probabilities.shape[-1] % BLOCK)).unflatten(
            -1, (-1, BLOCK)
        )
        sums = blocks.sum(-1)
        block, rest = _inverted(sums, uniform * sums.sum(-1, keepdim=True))
        inside = blocks.gather(-2, block[..., None].expand(-1, -1, -1, BLOCK)).squeeze(-2)
        index = block * BLOCK + _inverted(inside, rest)[0]
        return (order.gather(-1, index) if self.settings.top_p < 1 else index).squeeze(-1)

    def sequences(self, rows: torch.Tensor) -> list:
        """`(len(rows), num_return_sequences, max_new_tokens)` ids as nested lists, not yet cut at the stop token."""
        return self.generated[rows].tolist()


def _inverted(weights: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the cumulative sum of `weights` (.., K) passes `target` (.., 1), and what of the target is left there."""
    cumulative = weights.cumsum(-1)
    index = torch.searchsorted(cumulative, target, right=True)
    # rounding may put the target at the very end: take the last entry that weighs anything
    index = torch.minimum(index, (cumulative < cumulative[..., -1:]).sum(-1, keepdim=True))
    return index, target - (cumulative - weights).gather(-1, index)


class BeamSearch(Search):
    """transformers' beam search with `early_stopping=False`, for rows at different steps.

    A beam that ends keeps its score divided by length ** length_penalty; a row is done when the best running beam could
    not beat its worst finished one at the present length, or at `max_new_tokens`.
    """

    def __init__(self, rows, width, settings, stop_ids, device):
        super().__init__(rows, width, settings, stop_ids, device)
        self.keep = max(2, 1 + len(stop_ids)) * width  # enough that `width` of them do not end
        self.best_ranks = torch.arange(self.keep, device=device) < width
        self.divisor = torch.tensor(
            [1.0] + [n**settings.length_penalty for n in range(1, self.limit + 1)], device=device
        )
        self.scores = torch.zeros(rows, width, device=device)
        self.finished = torch.full_like(self.generated, self.fill)
        self.finished_scores = torch.full((rows, width), MASKED, device=device)
        self.is_finished = torch.zeros(rows, width, dtype=torch.bool, device=device)
        self.open = torch.ones(rows, dtype=torch.bool, device=device)

    def state(self):
        own = [self.scores, self.finished, self.finished_scores, self.is_finished, self.open]
        return [*super().state(), *own]

    def start(self, rows, last_tokens, seeds):
        super().start(rows, last_tokens, seeds)
        first_only = torch.full((self.width,), MASKED, device=self.scores.device)
        first_only[0] = 0.0  # all beams are still the same: continue one of them
        self.scores[rows] = first_only
        self.finished[rows] = self.fill
        self.finished_scores[rows] = MASKED
        self.is_finished[rows] = False
        self.open[rows] = True

    def advance(self, logits: torch.Tensor) -> torch.Tensor:
        """Moves the first n rows one token on, from `logits` `(n, width, vocabulary)`.

        Returns:
            `(n, width)` the beam that each new beam continues.
        """
        n, width, vocabulary = logits.shape
        step, live = self.step[:n], ~self.done[:n]
        at = step.clamp(max=self.limit - 1)

        # the best continuations of each beam, then of all; log-probabilities only of those
        largest = logits.amax(-1, keepdim=True).float()
        normalizer = (logits.float() - largest).exp_().sum(-1, keepdim=True).log_()
        top, tokens = self.ban_repeats(logits).topk(min(self.keep, vocabulary))
        scores = (top.float() - largest - normalizer + self.scores[:n, :, None]).flatten(1)
        scores, flat = scores.topk(self.keep)
        beams, tokens = flat // top.shape[-1], tokens.flatten(1).gather(1, flat)
        ends = self.is_stop(tokens) | (step + 1 == self.limit)[:, None]

        across = beams[..., None].expand(-1, -1, self.limit)
        written = self.generated[:n].gather(1, across)
        written.scatter_(2, at[:, None, None].expand(-1, self.keep, 1), tokens[..., None])

        divisor = self.divisor[at + 1][:, None]
        newly = ends & self.best_ranks & (self.open[:n] & live)[:, None]
        self.collect(n, written, scores / divisor + ~newly * MASKED, newly)

        self.scores[:n], kept = (scores + ends * MASKED).topk(width)
        self.generated[:n] = written.gather(1, kept[..., None].expand(-1, -1, self.limit))
        self.tokens[:n] = tokens.gather(1, kept)

        worst = torch.where(self.is_finished[:n], self.finished_scores[:n].amin(1, keepdim=True), MASKED)
        self.open[:n] &= (self.scores[:n, :1] / divisor > worst).any(1)
        step += live
        self.done[:n] |= ~self.open[:n] | (step == self.limit)
        return beams.gather(1, kept)

    def collect(self, n: int, written: torch.Tensor, scores: torch.Tensor, newly: torch.Tensor) -> None:
        """Merges newly ended candidates into the `width` best finished ones of each row."""
        scores, best = torch.cat((self.finished_scores[:n], scores), 1).topk(self.width)
        self.is_finished[:n] = torch.cat((self.is_finished[:n], newly), 1).gather(1, best)
        both = torch.cat((self.finished[:n], written), 1)
        self.finished[:n] = both.gather(1, best[..., None].expand(-1, -1, self.limit))
        self.finished_scores[:n] = scores

    def sequences(self, rows: torch.Tensor) -> list:
        """`(len(rows), num_return_sequences, max_new_tokens)` ids, best first, not yet cut at the stop token."""
        return self.finished[rows, : self.settings.num_return_sequences].tolist()
