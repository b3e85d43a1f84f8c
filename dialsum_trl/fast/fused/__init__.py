"""Decoder layers of Llama, Qwen2 and Qwen3 with LoRA, forward and backward written out for packed batches.

`layer` holds the arithmetic of one decoder layer, `weights` the frozen base and its LoRA columns, `attach` puts both in
place of a model's layers. The steps that are neither a matrix product nor attention are in `triton_ops` (GPU) and, as
their specification, in `torch_ops` (any device).
"""
