"""Random encoder-decoders with the file layouts and tokenizer classes of the models that Koreans fine-tune."""

import json
from pathlib import Path

import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartModel,
    MBartConfig,
    MBartForConditionalGeneration,
    MT5Config,
    MT5ForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from tests.row_files import TRAIN, read_rows

FAMILIES = ("t5", "mt5", "pko-t5", "mbart-50", "mbart-25", "kobart")


def texts() -> list[str]:
    return [text for row in read_rows(TRAIN) for text in (row["dialogue"], row["summary"])]


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def sentencepiece_model(file: Path, **ids) -> None:
    with file.open("wb") as target:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts()), model_writer=target, vocab_size=600, minloglevel=2, **ids
        )


def untie(folder: Path) -> None:
    """T5 1.1 and mT5 have an output embedding of their own."""
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = torch.randn_like(weights["shared.weight"]) * 0.05
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_json(folder / "config.json", config | {"tie_word_embeddings": False})


def t5(folder: Path, family: str) -> None:
    """T5, KE-T5 and mT5 ship `spiece.model` alone; pko-t5 a byte-level BPE that it declares as T5's class."""
    config, model = (
        (MT5Config, MT5ForConditionalGeneration) if family == "mt5" else (T5Config, T5ForConditionalGeneration)
    )
    sizes = dict(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0)
    gate = "relu" if family == "t5" else "gated-gelu"
    model(config(vocab_size=704, feed_forward_proj=gate, **sizes)).save_pretrained(folder)
    if family != "t5":
        untie(folder)
    if family != "pko-t5":
        sentencepiece_model(folder / "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
        return

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "</s>", *(f"<extra_id_{i}>" for i in range(100))]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"eos_token": "</s>", "unk_token": "<pad>", "pad_token": "<pad>"}
    write_json(folder / "tokenizer_config.json", {**names, "tokenizer_class": "T5TokenizerFast"})


def bart_sizes() -> dict:
    side = {"layers": 2, "attention_heads": 4, "ffn_dim": 64}
    return {"d_model": 32} | {f"{half}_{key}": value for half in ("encoder", "decoder") for key, value in side.items()}


def mbart(folder: Path, family: str) -> None:
    name = "MBart50Tokenizer" if family == "mbart-50" else "MBartTokenizer"
    config = MBartConfig(vocab_size=660, decoder_start_token_id=2, tokenizer_class=name, **bart_sizes())
    MBartForConditionalGeneration(config).save_pretrained(folder)
    sentencepiece_model(folder / "sentencepiece.bpe.model")
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": name})


def kobart(folder: Path) -> None:
    """No end token around a text, words told by SentencePiece's prefix, no `tokenizer_config.json`."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<s>", "</s>", "<unk>", "<pad>", "<mask>"]
    tokenizer.train_from_iterator(texts(), trainers.BpeTrainer(vocab_size=1200, special_tokens=special))
    tokenizer.save(str(folder / "tokenizer.json"))
    names = ("bos_token", "eos_token", "unk_token", "pad_token", "mask_token")
    write_json(folder / "special_tokens_map.json", dict(zip(names, special, strict=True)))
    ids = dict(bos_token_id=1, eos_token_id=1, decoder_start_token_id=1, forced_eos_token_id=1, pad_token_id=3)
    config = BartConfig(
        vocab_size=1200, max_position_embeddings=1026, tokenizer_class="PreTrainedTokenizerFast", **ids, **bart_sizes()
    )
    BartModel(config).save_pretrained(folder)


def build(family: str, folder: Path) -> Path:
    """Writes the model of `FAMILIES` into `folder`."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    if family.endswith("t5"):
        t5(folder, family)
    elif family.startswith("mbart"):
        mbart(folder, family)
    else:
        kobart(folder)
    return folder
