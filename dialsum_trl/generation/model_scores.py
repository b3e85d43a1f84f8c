"""Scores that need a model: BERTScore and BLEURT-20, on the transformers that are installed.

The packages that have them do not work with transformers 5: `bert-score` 0.3.13 raises on an empty summary, and
`bleurt-pytorch` 0.0.1 on import.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from sentencepiece import SentencePieceProcessor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer, RemBertConfig, RemBertForSequenceClassification

from dialsum_trl.core.errors import InputError
from dialsum_trl.core.json_file import read_json
from dialsum_trl.core.settings.flags import MetricArguments
from dialsum_trl.metrics.row_scores import RowScores, with_total
from dialsum_trl.models.base import load_config
from dialsum_trl.models.files import tensor_shapes
from dialsum_trl.models.pretrained import load, reason

LAYER = 9  # of bert-base-multilingual-cased, whose hidden states `bert-score` compares
PAIRS = 32  # at a time
Scorer = Callable[[Sequence[str], Sequence[str]], torch.Tensor]  # candidates, references -> one score each


def load_scorers(args: MetricArguments, device: torch.device | str | None = None) -> dict[str, tuple[str, Scorer]]:
    """Name -> configuration and scorer of each model score that `--metrics` names.

    Args:
        device: default: the GPU of this process, else the CPU.

    Raises:
        InputError: a model cannot be loaded, or is another one.
    """
    device = device or (torch.cuda.current_device() if torch.cuda.is_available() else "cpu")
    scorers = {}
    if "bertscore" in args.metrics:
        scorers["BERTScore"] = (
            f"F1, {args.bertscore_model}, layer {LAYER}, no idf, not rescaled",
            bertscore(args.bertscore_model, device),
        )
    if "bleurt" in args.metrics:
        scorers["BLEURT"] = args.bleurt_model, bleurt(Path(args.bleurt_model), device)
    return scorers


def model_scores(
    scorers: dict[str, tuple[str, Scorer]],
    predictions: list[str],
    references: list[list[str]],
    combined: str,
    bootstrap: int,
) -> list[RowScores]:
    """The model scores of every row, and NIKL's total where it can be computed.

    Args:
        scorers: of `load_scorers`.
        combined: "mean" or "max" over the references of a row.
    """
    pairs = [(text, reference) for text, row in zip(predictions, references, strict=True) for reference in row]
    ends = np.cumsum([len(row) for row in references])[:-1]
    found = []
    for name, (config, scorer) in scorers.items():
        order = sorted(
            range(len(pairs)), key=lambda index: sum(map(len, pairs[index]))
        )  # alike lengths: little padding
        values = np.zeros(len(pairs))
        for start in range(0, len(order), PAIRS):
            part = order[start : start + PAIRS]
            with torch.inference_mode():
                values[part] = scorer(*zip(*(pairs[index] for index in part), strict=True)).float().cpu()
        rows = [getattr(row, combined)() for row in np.split(100 * values, ends)]
        found.append(RowScores.of(name, config, np.array(rows), bootstrap))
    return with_total(found, predictions, references, combined, bootstrap)


def bertscore(name_or_path: str, device: torch.device | str) -> Scorer:
    """F1 of BERTScore (Zhang et al., ICLR 2020) as `bert-score` computes it without idf and without a baseline.

    Each token is matched with the most similar one of the other text by the cosine of hidden states of layer `LAYER`;
    [CLS] and [SEP] can be matched, but are not counted. A text without tokens scores 0.
    """
    config = load_config(name_or_path)
    if config.num_hidden_layers < LAYER:
        raise InputError(
            f"--bertscore_model {name_or_path}: has {config.num_hidden_layers} layers; layer {LAYER} is compared: give "
            "bert-base-multilingual-cased"
        )
    tokenizer = load(AutoTokenizer.from_pretrained, name_or_path, "tokenizer")
    model = load(AutoModel.from_pretrained, name_or_path, "weights", use_safetensors=True, dtype=torch.float32)
    model = model.eval().to(device)
    longest = min(tokenizer.model_max_length, config.max_position_embeddings)

    def encode(texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Unit vectors `(n, tokens, width)`, which tokens are there, and which are counted."""
        stripped = [text.strip() for text in texts]
        batch = tokenizer(stripped, truncation=True, max_length=longest, padding=True, return_tensors="pt").to(device)
        states = model(**batch, output_hidden_states=True).hidden_states[LAYER]
        there = batch.attention_mask.bool()
        ends = torch.tensor([tokenizer.cls_token_id, tokenizer.sep_token_id], device=there.device)
        return torch.nn.functional.normalize(states, dim=-1), there, there & ~torch.isin(batch.input_ids, ends)

    def score(candidates: Sequence[str], references: Sequence[str]) -> torch.Tensor:
        left, left_there, left_counted = encode(candidates)
        right, right_there, right_counted = encode(references)
        similar = (left @ right.mT) * (left_there[:, :, None] & right_there[:, None, :])
        precision = _mean(similar.amax(2), left_counted)
        recall = _mean(similar.amax(1), right_counted)
        found = 2 * precision * recall / (precision + recall)
        return found.where(left_counted.any(1) & right_counted.any(1), 0.0).nan_to_num(0.0)

    return score


def _mean(values: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    return (values * counted).sum(1) / counted.sum(1)


def bleurt(folder: Path, device: torch.device | str) -> Scorer:
    """BLEURT-20 (Pu et al., EMNLP 2021), whose weights in lucadiliello/BLEURT-20 are RemBERT's under other names.

    Input and truncation are those of google-research/bleurt: reference, then candidate, at most 512 tokens; while they
    are longer, the longer of the two loses its last one.

    Args:
        folder: config.json, model.safetensors and spm.model.

    Raises:
        InputError: it holds something else.
    """
    flag = f"--bleurt_model {folder}"
    remedy = "give a folder with config.json, model.safetensors and spm.model of BLEURT-20 (docs/nikl.md)"
    content = read_json(folder / "config.json", remedy)
    if content.get("model_type") != "bleurt" or not content.get("embedding_size"):
        raise InputError(f"{flag}: is no BLEURT-20 (nor D3, D6 or D12 of it): {remedy}")
    tensor_shapes(folder / "model.safetensors", remedy)
    if not (folder / "spm.model").is_file():
        raise InputError(f"{flag}: holds no spm.model; {remedy}")
    known = {name: content[name] for name in RemBertConfig().to_dict() if name in content and name != "model_type"}
    config = RemBertConfig(**known | {"input_embedding_size": content["embedding_size"], "num_labels": 1})
    names = {"bleurt.": "rembert.", ".embedding_projection.": ".embedding_hidden_mapping_in."}
    weights = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        for old, new in names.items():
            name = name.replace(old, new)
        weights[name] = tensor
    weights.pop("rembert.embeddings.position_ids", None)  # a constant that earlier versions saved
    model = RemBertForSequenceClassification(config)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"{flag}: its weights are not those of its config.json ({reason(error)}); {remedy}") from None
    model = model.eval().to(device)
    pieces = SentencePieceProcessor(model_file=str(folder / "spm.model"))
    start, end = pieces.piece_to_id("[CLS]"), pieces.piece_to_id("[SEP]")

    def encode(candidate: str, reference: str) -> tuple[list[int], list[int]]:
        """Token ids, and 1 for those of the candidate."""
        first, second = pieces.encode(reference), pieces.encode(candidate)
        while len(first) + len(second) > config.max_position_embeddings - 3:
            (first if len(first) > len(second) else second).pop()
        return [start, *first, end, *second, end], [0] * (len(first) + 2) + [1] * (len(second) + 1)

    def score(candidates: Sequence[str], references: Sequence[str]) -> torch.Tensor:
        ids, sides = zip(*map(encode, candidates, references), strict=True)
        there = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in ids], batch_first=True)
        ids, sides = (pad_sequence(list(map(torch.tensor, rows)), batch_first=True) for rows in (ids, sides))
        return model(ids.to(device), there.to(device), sides.to(device)).logits[:, 0]

    return score
