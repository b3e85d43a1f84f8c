"""Puts fused layers in place of a PEFT model's decoder layers, or says why not."""

import importlib.util
import subprocess

import torch
from peft import PeftModel

from dialsum_trl.kernels import tiles
from dialsum_trl.kernels.fused.layer import ACTIVATIONS, FusedLayer, LayerFunction, activation, operations
from dialsum_trl.kernels.fused.weights import group_problem, padded_rank
from dialsum_trl.models.families.family import Layer
from dialsum_trl.models.families.registry import FUSED


def decoder_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The decoder layers of a model's text part, PEFT-wrapped or not; empty where no list of them is named `layers`."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    modules = dict(base.get_decoder().named_children())
    return list(modules["layers"]) if "layers" in modules else []


def known(model: torch.nn.Module) -> bool:
    """Whether all decoder layers are of a class whose arithmetic is written out here."""
    names = {type(layer).__name__ for layer in decoder_layers(model)}
    return bool(names) and names <= FUSED.keys()


def why_not_fused(model: torch.nn.Module, adapters: tuple[str, ...] = ()) -> str | None:
    """Why this model's layers cannot be fused with these adapters (default: the active one), as one clause; or None."""
    if not isinstance(model, PeftModel):
        return "no LoRA adapter"
    adapters = adapters or (model.active_adapter,)
    if other := [name for name in adapters if model.peft_config[name].peft_type != "LORA"]:
        return f"adapters of type {model.peft_config[other[0]].peft_type}"
    config = model.get_base_model().config.get_text_config()
    if not known(model):
        return f"there are no fused layers for {config.model_type}"
    if activation(config) not in ACTIVATIONS:
        return f"the activation {activation(config)}"
    if reason := _device_problem(model, adapters):
        return reason
    for layer in decoder_layers(model):
        if reason := _layer_problem(layer, FUSED[type(layer).__name__], adapters):
            return reason
    return None


def _layer_problem(layer: torch.nn.Module, built: Layer, adapters: tuple[str, ...]) -> str | None:
    attention, mlp = layer.self_attn, layer.mlp
    rest = [module for name, module in layer.named_modules() if ".lora_" not in name]
    if attention.attention_dropout or any(isinstance(module, torch.nn.Dropout) and module.p for module in rest):
        return "dropout outside the adapters"
    if not attention.is_causal:
        return "attention in both directions"
    norm = getattr(layer, built.mlp_norm or built.mlp_out_norm).weight
    if norm.device.type == "cuda" and norm.dtype not in (torch.bfloat16, torch.float16):
        return f"a {norm.dtype} model on a GPU"
    if any(p.requires_grad for name, p in layer.named_parameters() if ".lora_" not in name):
        return "trainable base weights"
    inputs = [getattr(attention, name) for name in built.qkv], [getattr(mlp, name) for name in built.gate_up]
    outputs = [attention.o_proj], [mlp.down_proj]
    for modules in inputs + outputs:
        for adapter in adapters:
            if reason := group_problem(modules, adapter):
                return reason
    biases = [{module.get_base_layer().bias is None for module in modules} for modules in inputs]
    if len(biases[0]) > 1 or len(biases[1]) > 1 or any(m.get_base_layer().bias is not None for (m,) in outputs):
        return "biases of the projections that add to the stream, or of some projections of one input"
    return None


def _device_problem(model: PeftModel, adapters: tuple[str, ...]) -> str | None:
    device = next(model.parameters()).device
    if device.type not in ("cuda", "cpu") or (device.type == "cuda" and torch.version.cuda is None):
        return "a GPU of another vendor than NVIDIA"
    ranks = [padded_rank(model.peft_config[name].r) for name in adapters]
    return tiles.problem(tiles.device_of(device), max(ranks)) if device.type == "cuda" else None


def _forward(choices: dict[str, FusedLayer]):
    """The layer's new `forward`: fused for packs, the original for everything else (generation, padded batches).

    `choices`: the fused layer of each adapter; the active one is taken.
    """
    some = next(iter(choices.values()))
    query, original, rotary = some.qkv.modules[0], some.original, some.rotary

    def forward(hidden_states, *args, position_embeddings=None, past_key_values=None, **kwargs):
        bounds, active = kwargs.get("cu_seq_lens_q"), query.active_adapters
        fused = choices.get(active[0]) if len(active) == 1 and not query.disable_adapters else None
        too_long = some.longest and kwargs.get("max_length_k", 0) > some.longest
        if bounds is None or past_key_values is not None or fused is None or too_long:
            return original(
                hidden_states, *args, position_embeddings=position_embeddings, past_key_values=past_key_values, **kwargs
            )
        cos, sin = (x[0, :, :rotary].contiguous() for x in position_embeddings)
        # one number of torch's generator per layer: checkpointed RNG states resume the masks too
        seed = int(torch.randint(2**31 - 1, ())) if query.training else 0
        documents = bounds, kwargs["max_length_q"], kwargs.get("shared_keys")
        output = LayerFunction.apply(
            hidden_states[0], cos, sin, documents, fused, query.training, seed, *fused.parameters()
        )
        return output[None]

    return forward


def attach(
    model: PeftModel, keep: list[str] | None = None, resident: bool = False, adapters: tuple[str, ...] = ()
) -> list[FusedLayer]:
    """Fuses every decoder layer; `why_not_fused(model, adapters)` must be None.

    Args:
        keep: per layer "all", "mlp" or "layer" (see `layer`); "all" everywhere by default.
        resident: dequantize every base once and keep it, 2 bytes per parameter, instead of twice per micro-batch.
            For one adapter only.
        adapters: those that packs may run with; the active one by default.

    Returns:
        The fused layers of the first adapter.
    """
    pool, fused_layers, config = {}, [], model.get_base_model().config.get_text_config()
    for number, layer in enumerate(decoder_layers(model)):
        names = adapters or (model.active_adapter,)
        choices = {name: FusedLayer(layer, name, pool, config, number) for name in names}
        for fused in choices.values():
            fused.keep = keep[number] if keep else "all"
        fused_layers.append(next(iter(choices.values())))
        if resident:
            fused = fused_layers[-1]
            for group in fused.groups:
                group.make_resident(operations(fused.dtype, fused.device), fused.dtype, fused.device)
        layer.forward = _forward(choices)
    return fused_layers


def detach(layers: list[FusedLayer]) -> None:
    """Takes `attach` back: the layers run as transformers wrote them."""
    for fused in layers:
        del fused.module.forward


def compile_errors() -> tuple[type[Exception], ...]:
    """What a machine raises that cannot build or run the kernels: no Triton, no C compiler, an unknown GPU."""
    if importlib.util.find_spec("triton") is None:
        return (ImportError,)
    from triton.errors import TritonError

    return (ImportError, OSError, subprocess.CalledProcessError, TritonError, RuntimeError)


def check(layers: list[FusedLayer]) -> float:
    """Runs fused layers and those that transformers wrote on two random documents; compiles the kernels on the way.

    Returns:
        The largest relative difference (norm of difference over norm) of the output, the gradient of the input and of
        the adapters, over the first layer of each kind (window or not). Dropout is off for both.
    """
    kinds = {fused.window: fused for fused in reversed(layers)}
    return float(torch.stack([_difference(fused) for fused in kinds.values()]).max())  # NaN stays NaN


def _difference(fused: FusedLayer) -> torch.Tensor:
    layer, lengths = fused.module, (128, 64)
    training, total = layer.training, sum(lengths)
    device, dtype = fused.device, fused.dtype
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        hidden = torch.randn(1, total, fused.hidden, device=device).to(dtype)
        angles = torch.rand(1, total, (fused.rotary or fused.dim) // 2, device=device).repeat(1, 1, 2)
        grad = torch.randn_like(hidden)
    bounds = torch.tensor([0, lengths[0], total], dtype=torch.int32, device=device)
    kwargs = dict(
        position_embeddings=(angles.cos().to(dtype), angles.sin().to(dtype)),
        position_ids=torch.cat([torch.arange(length, device=device) for length in lengths])[None],
        cu_seq_lens_q=bounds,
        max_length_q=max(lengths),
        max_length_k=max(lengths),
    )
    fused_forward = layer.forward
    results = []
    layer.eval()
    for forward in (fused_forward, fused.original):
        start = hidden.clone().requires_grad_()
        with torch.enable_grad(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            output = forward(start, attention_mask=None, **kwargs)
        parameters = fused.parameters()
        grads = torch.autograd.grad(output, [start, *parameters], grad)
        results.append([output.detach(), grads[0], torch.cat([g.float().flatten() for g in grads[1:]])])
    layer.train(training)
    differences = [(a - b).float().norm() / b.float().norm() for a, b in zip(*results, strict=True)]
    return torch.stack(differences).max()
