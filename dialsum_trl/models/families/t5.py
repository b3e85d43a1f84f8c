"""T5 and its descendants: encoder-decoders."""

from dialsum_trl.models.families.family import Family

T5 = Family(name="T5", model_types=("t5", "mt5", "umt5", "longt5", "t5gemma", "t5gemma2"), float16=False)
