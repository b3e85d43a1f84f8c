"""Puts fused layers in place of a PEFT model's decoder layers, or says why not."""

import importlib.util
import subprocess

import torch
from peft import PeftModel

from dialsum_trl.kernels.fused.layer import FusedLayer, LayerFunction, operations
from dialsum_trl.kernels.fused.weights import group_problem
from dialsum_trl.models.families.registry import FUSED


def decoder_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The decoder layers of a causal LM, PEFT-wrapped or not; empty where they are not a list named `layers`."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    modules = dict(base.base_model.named_children())
    return list(modules["layers"]) if "layers" in modules else []


def known(model: torch.nn.Module) -> bool:
    """Whether all decoder layers are of a class whose arithmetic is written out here."""
    names = {type(layer).__name__ for layer in decoder_layers(model)}
    return bool(names) and names <= FUSED.keys()


def problem(model: torch.nn.Module, adapters: tuple[str, ...] = ()) -> str | None:
    """Why this model's layers cannot be fused with these adapters (default: the active one), as one clause; or None."""
    if not isinstance(model, PeftModel):
        return "no LoRA adapter"
    adapters = adapters or (model.active_adapter,)
    if other := [name for name in adapters if model.peft_config[name].peft_type != "LORA"]:
        return f"adapters of type {model.peft_config[other[0]].peft_type}"
    config = model.get_base_model().config
    if not known(model):
        return f"{config.model_type} layers are not {', '.join(FUSED)}"
    for layer in decoder_layers(model):
        attention, mlp, built = layer.self_attn, layer.mlp, FUSED[type(layer).__name__]
        if config.hidden_act != built.activation or config.attention_dropout:
            return f"an activation other than {built.activation}, or attention dropout"
        if built.windows and attention.sliding_window:
            return "sliding-window attention"
        norm = getattr(layer, built.attention_norm).weight
        if norm.device.type == "cuda" and norm.dtype not in (torch.bfloat16, torch.float16):
            return f"a {norm.dtype} model on a GPU"
        if any(p.requires_grad for name, p in layer.named_parameters() if ".lora_" not in name):
            return "trainable base weights"
        groups = (
            [attention.q_proj, attention.k_proj, attention.v_proj],
            [attention.o_proj],
            [mlp.gate_proj, mlp.up_proj],
            [mlp.down_proj],
        )
        for modules in groups:
            for adapter in adapters:
                if reason := group_problem(modules, adapter):
                    return reason
        biased = [module for modules in groups for module in modules if module.get_base_layer().bias is not None]
        if biased != (groups[0] if built.qkv_bias else []):
            return "biases beside q/k/v"
    return None


def _forward(choices: dict[str, FusedLayer]):
    """The layer's new `forward`: fused for packs, the original for everything else (generation, padded batches).

    `choices`: the fused layer of each adapter; the active one is taken.
    """
    some = next(iter(choices.values()))
    query, original = some.qkv.modules[0], some.original

    def forward(hidden_states, *args, position_embeddings=None, past_key_values=None, **kwargs):
        bounds, active = kwargs.get("cu_seq_lens_q"), query.active_adapters
        fused = choices.get(active[0]) if len(active) == 1 and not query.disable_adapters else None
        if bounds is None or past_key_values is not None or fused is None:
            return original(
                hidden_states, *args, position_embeddings=position_embeddings, past_key_values=past_key_values, **kwargs
            )
        cos, sin = position_embeddings
        # one number of torch's generator per layer: checkpointed RNG states resume the masks too
        seed = int(torch.randint(2**31 - 1, ())) if query.training else 0
        output = LayerFunction.apply(
            hidden_states[0], cos[0].contiguous(), sin[0].contiguous(), bounds, kwargs["max_length_q"], fused,
            query.training, seed, *fused.parameters(),
        )  # fmt: skip
        return output[None]

    return forward


def attach(
    model: PeftModel, keep: list[str] | None = None, resident: bool = False, adapters: tuple[str, ...] = ()
) -> list[FusedLayer]:
    """Fuses every decoder layer; `problem(model, adapters)` must be None.

    Args:
        keep: per layer "all", "mlp" or "layer" (see `layer`); "all" everywhere by default.
        resident: dequantize every base once and keep it, 2 bytes per parameter, instead of twice per micro-batch.
            For one adapter only.
        adapters: those that packs may run with; the active one by default.

    Returns:
        The fused layers of the first adapter.
    """
    pool, fused_layers = {}, []
    for number, layer in enumerate(decoder_layers(model)):
        choices = {name: FusedLayer(layer, name, pool) for name in adapters or (model.active_adapter,)}
        for fused in choices.values():
            fused.keep = keep[number] if keep else "all"
        fused_layers.append(next(iter(choices.values())))
        if resident:
            norm = fused_layers[-1].norms[0][0]
            for group in fused_layers[-1].groups:
                group.make_resident(operations(norm), norm.dtype, norm.device)
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
    """Runs the first layer fused and as transformers wrote it on two random documents; compiles the kernels on the way.

    Returns:
        The largest relative difference (norm of difference over norm) of the output, the gradient of the input and of
        the adapters. Dropout is off for both.
    """
    fused = layers[0]
    layer, lengths = fused.module, (128, 64)
    norm = fused.norms[0][0]
    training, total = layer.training, sum(lengths)
    device = norm.device.type
    with torch.random.fork_rng(devices=[norm.device] if device == "cuda" else []):
        torch.manual_seed(0)
        hidden = torch.randn(1, total, norm.shape[0], device=norm.device).to(norm.dtype)
        angles = torch.rand(1, total, fused.dim // 2, device=norm.device).repeat(1, 1, 2)
        grad = torch.randn_like(hidden)
    embeddings = (angles.cos().to(norm.dtype), angles.sin().to(norm.dtype))
    bounds = torch.tensor([0, lengths[0], total], dtype=torch.int32, device=norm.device)
    kwargs = dict(position_embeddings=embeddings, cu_seq_lens_q=bounds, max_length_q=max(lengths))
    fused_forward = layer.forward
    results = []
    layer.eval()
    for forward in (fused_forward, fused.original):
        start = hidden.clone().requires_grad_()
        with torch.enable_grad(), torch.autocast(device, norm.dtype, enabled=norm.dtype != torch.float32):
            output = forward(start, attention_mask=None, **kwargs)
        parameters = fused.parameters()
        grads = torch.autograd.grad(output, [start, *parameters], grad)
        results.append([output.detach(), grads[0], torch.cat([g.float().flatten() for g in grads[1:]])])
    layer.train(training)
    differences = [(a - b).float().norm() / b.float().norm() for a, b in zip(*results, strict=True)]
    return float(torch.stack(differences).max())  # NaN stays NaN
