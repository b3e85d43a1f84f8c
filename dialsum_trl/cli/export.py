"""`dialsum export`: an adapter as a GGUF file and an Ollama Modelfile, compared with the adapter through llama.cpp."""

import shlex
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from dialsum_trl.cli.merge import greedy_summaries, prepare, write_merged
from dialsum_trl.core.console import say, table
from dialsum_trl.core.errors import InputError
from dialsum_trl.core.files import folder_aside, write_text
from dialsum_trl.core.settings.defaults import MAX_LENGTH
from dialsum_trl.generation.settings import GenerationSettings, Summary
from dialsum_trl.metrics.rouge import compare
from dialsum_trl.prompts.prompt import fit, prompt_texts, set_prompt_texts
from dialsum_trl.prompts.tokenizer import load_tokenizer
from dialsum_trl.sharing.gguf import check_kind, load_gguf, modelfile, prompt_template, write_gguf

SERVE = """\
Serve it:
  ollama create dialsum -f {file}
  ollama run dialsum < dialogue.txt"""


def export_adapter(
    adapter: Path,
    output: Path,
    kind: str,
    model: str | None = None,
    dtype: str = "bfloat16",
    verify: str | None = None,
    rows: int = 100,
    columns: dict[str, str] | None = None,
) -> bool:
    """Writes `model-<kind>.gguf` and `Modelfile` to the new folder `output`.

    Args:
        kind: of `sharing.gguf.KINDS`.
        model, dtype, verify, rows, columns: as of `merge_adapter`; `dtype` is that of the merge before quantization.

    Returns:
        Whether the file's summaries are not clearly worse than the adapter's (always, without `verify`).

    Raises:
        InputError: as `merge_adapter`; a package is missing; llama.cpp cannot take the model, or splits its prompts
            otherwise.
    """
    check_kind(kind)
    settings, compared = prepare(adapter, output, model, dtype, verify, rows, columns)
    with folder_aside(output) as partial:
        write_merged(adapter, partial / "merged", settings, "4GB")
        file = partial / f"model-{kind}.gguf"
        served, types = quantized(partial / "merged", settings, file, kind)
        write_text(partial / "Modelfile", modelfile(file.name, served.template, served.tokenizer))
        passed = compared is None or compare_gguf(served, partial / "merged", settings, compared, kind)
        shutil.rmtree(partial / "merged")
    say(f"{output}: {file.name} ({', '.join(f'{count} {name}' for name, count in types.most_common())}), Modelfile")
    if kind[-2:] in ("_k", "_m", "_s") and not any(name.endswith("_K") for name in types):
        say("K-quants need rows of 256 weights; llama.cpp has taken the next larger types for narrower matrices")
    say(SERVE.format(file=shlex.quote(str(output / "Modelfile"))))
    return passed


@dataclass(frozen=True)
class Served:
    """A GGUF file in llama.cpp (`llama_cpp.Llama`), asked as Ollama asks it by the Modelfile."""

    llama: Any
    tokenizer: PreTrainedTokenizerBase
    template: str

    def prompt_ids(self, dialogue: str) -> list[int]:
        """Token ids by llama.cpp's own tokenizer."""
        text = self.template.replace("{{ .System }}", prompt_texts(self.tokenizer).system)
        return self.llama.tokenize(text.replace("{{ .Prompt }}", dialogue).encode(), add_bos=True, special=True)

    def summary(self, dialogue: str, decoding: GenerationSettings) -> Summary:
        """Greedy, of a dialogue shortened as in training."""
        fitted = fit(self.tokenizer, dialogue, decoding.max_length - decoding.max_new_tokens)
        made = self.llama.create_completion(
            self.prompt_ids(fitted.text), max_tokens=decoding.max_new_tokens, temperature=0.0, repeat_penalty=1.0
        )
        [choice] = made["choices"]
        length = made["usage"]["completion_tokens"]
        return Summary(choice["text"].strip(), length, choice["finish_reason"] == "length")


def quantized(merged: Path, settings: dict, file: Path, kind: str) -> tuple[Served, Counter]:
    """Writes a merged model as a GGUF file and loads that in llama.cpp; with it, how many tensors are of each type.

    Raises:
        InputError: as `write_gguf` and `check_prompt`.
    """
    tokenizer = load_tokenizer(str(merged))
    set_prompt_texts(tokenizer, settings.get("system_prompt"), settings.get("instruction"))
    types = write_gguf(merged, tokenizer, file, kind)
    llama = load_gguf(file)
    template = prompt_template(tokenizer, llama.metadata.get("tokenizer.ggml.add_bos_token") == "true")
    served = Served(llama, tokenizer, template)
    check_prompt(served, file.name)
    return served, types


def check_prompt(served: Served, name: str) -> None:
    """Raises InputError where the file splits a prompt into other tokens than training did."""
    dialogue = "#Person1#: 안녕하세요, 3월 12일 오후 4시 30분에 예약할게요.\n#Person2#: 네! 1,250원입니다. It's OK."
    expected = fit(served.tokenizer, dialogue, MAX_LENGTH).prompt_ids
    if (found := served.prompt_ids(dialogue)) != expected:
        raise InputError(
            f"{name}: llama.cpp splits a prompt into {len(found)} tokens where training saw {len(expected)}; it does "
            f"not know this tokenizer, so serve the merged model by vLLM instead (dialsum merge)"
        )


def compare_gguf(served: Served, merged: Path, settings: dict, rows: Dataset, kind: str) -> bool:
    """Prints greedy summaries' scores of adapter, merged model and GGUF file; whether the file is not clearly worse."""
    systems = dict(zip(("adapter as trained", "merged"), greedy_summaries(merged, settings, rows), strict=True))
    decoding = GenerationSettings(num_beams=1)
    systems[f"GGUF {kind}"] = [served.summary(dialogue, decoding) for dialogue in rows["dialogue"][:]]
    lines, texts = [], [[summary.text for summary in each] for each in systems.values()]
    for index, (name, summaries) in enumerate(systems.items()):
        result = compare(texts[0], texts[index], rows["summaries"][:])
        change = "{:+.2f} [{:+.2f}, {:+.2f}]".format(result.delta, *result.interval) if index else ""
        equal = sum(left == right for left, right in zip(texts[index - 1], texts[index], strict=True)) if index else ""
        ended = sum(not summary.hit_limit for summary in summaries)
        lines.append((name, f"{result.b.mean:.2f}", change, equal, ended))
    header = ("", "ROUGE mean", "change, 95 %", "equal to the line above", f"ended, of {len(rows)}")
    table("Greedy summaries", lines, header)
    return result.verdict != "worse"
