#!/usr/bin/env python3
"""Makes the golden data: small random checkpoints, and what transformers computes from them.

    python3 tests/golden/make.py            write tests/golden/FAMILY/ and check it
    python3 tests/golden/make.py --check    write nothing: redo everything elsewhere and compare with what is committed

Per family: config.json and weights in the layout that transformers itself loads, input.safetensors (hidden_states [T, H]) and
expected.safetensors (output [T, H], ids [T, K], weights [T, K]), computed in float32 by the family's own MoE module after
`from_pretrained` read the folder. Every result is compared with reference.py, which knows only the dialect.
README.md has the versions.
"""

import argparse
import json
import logging
import pathlib
import sys
import tempfile
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

import quantised
import reference
from reference import ClampedSwiglu, Routing, silu_times

HERE = pathlib.Path(__file__).resolve().parent
MAX_ERROR = 1e-5  # relative L2 between transformers in float32 and the reference in float64
LEAST_DIFFERENCE = 1e-2  # that a mistake in one routing rule makes to the output, or the data is worth little
MIN_MARGIN = 1e-3  # by which a choice of experts is decided, so that rounding cannot turn it over


@dataclass(frozen=True)
class Case:
    name: str
    config: str  # class in transformers
    keys: dict  # of the config
    hidden: int
    intermediate: int
    experts: int
    k: int
    tokens: int
    routing: Routing
    seed: int
    layer: int = 0
    dtype: torch.dtype = torch.bfloat16
    shared: int = 0  # columns of the shared expert
    shared_router: bool = False
    correction: bool = False
    biases: bool = False  # of the router and of each expert's gate, up and down
    activation: object = silu_times  # of (gate, up)
    weight_on_input: bool = False  # a pair's weight multiplies what its expert takes in
    # hub: one tensor per expert; sharded: so, in two files; fused: as transformers >= 5 saves; interleaved: as gpt-oss;
    # transposed: as Llama 4; fp8: as hub, matrices in e4m3 with a scale for 128 by 128 elements; mxfp4: as gpt-oss is published
    layout: str = "hub"
    committed: bool = True
    names: dict = field(default_factory=dict)  # where they differ from DEFAULT_NAMES


DEFAULT_NAMES = {"model": "model", "block": "mlp", "router": "gate", "gate": "gate_proj", "up": "up_proj", "down": "down_proj", "shared": "shared_experts"}

LLAMA4_NAMES = {"block": "feed_forward", "router": "router", "shared": "shared_expert"}

CASES = [
    Case(
        name="mixtral",
        config="MixtralConfig",
        keys={"num_hidden_layers": 1},
        hidden=52, intermediate=25, experts=6, k=2, tokens=13, seed=1,
        routing=Routing(before="none", after="softmax"),
        names={"block": "block_sparse_moe", "gate": "w1", "up": "w3", "down": "w2"},
    ),
    Case(
        name="qwen3_moe",
        config="Qwen3MoeConfig",
        keys={"num_hidden_layers": 2, "mlp_only_layers": [0], "norm_topk_prob": True},
        hidden=48, intermediate=24, experts=9, k=3, tokens=19, seed=4, layer=1, layout="sharded",
        routing=Routing(renormalise=True),
    ),
    Case(
        name="olmoe",
        config="OlmoeConfig",
        keys={"num_hidden_layers": 1, "norm_topk_prob": False},
        hidden=48, intermediate=24, experts=6, k=4, tokens=7, seed=2, dtype=torch.float32, layout="fused",
        routing=Routing(),
    ),
    Case(
        name="deepseek_v3",
        config="DeepseekV3Config",
        keys={"num_hidden_layers": 2, "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2, "n_shared_experts": 2,
              "norm_topk_prob": True, "routed_scaling_factor": 2.5},
        hidden=48, intermediate=24, experts=12, k=4, tokens=17, seed=7, layer=1, shared=48, correction=True,
        routing=Routing(before="sigmoid", groups=4, groups_picked=2, group_top=2, renormalise=True, epsilon=1e-20, scale=2.5),
    ),
    Case(
        name="qwen2_moe",
        config="Qwen2MoeConfig",
        keys={"num_hidden_layers": 1, "norm_topk_prob": False, "shared_expert_intermediate_size": 33},
        hidden=48, intermediate=25, experts=6, k=2, tokens=11, seed=1, shared=33, shared_router=True,
        routing=Routing(), names={"shared": "shared_expert"},
    ),
    Case(  # H = I, as published: the shape of down_proj does not tell how it lies
        name="gpt_oss",
        config="GptOssConfig",
        keys={"num_hidden_layers": 1, "head_dim": 16, "swiglu_limit": 1.5},
        hidden=32, intermediate=32, experts=6, k=2, tokens=13, seed=1, biases=True, layout="interleaved",
        routing=Routing(before="none", after="softmax"), activation=ClampedSwiglu(limit=1.5), names={"router": "router"},
    ),
    Case(
        name="gpt_oss_f32",
        config="GptOssConfig",
        keys={"num_hidden_layers": 1, "head_dim": 16, "swiglu_limit": 1.0, "swiglu_alpha": 1.25},
        hidden=28, intermediate=21, experts=5, k=3, tokens=9, seed=2, dtype=torch.float32, biases=True, layout="interleaved",
        routing=Routing(before="none", after="softmax"), activation=ClampedSwiglu(alpha=1.25, limit=1.0),
        names={"router": "router"},
    ),
    Case(
        name="deepseek_v3_fp8",
        config="DeepseekV3Config",
        keys={"num_hidden_layers": 1, "first_k_dense_replace": 0, "n_group": 1, "topk_group": 1, "n_shared_experts": 1,
              "norm_topk_prob": True, "routed_scaling_factor": 2.5},
        hidden=256, intermediate=128, experts=3, k=2, tokens=9, seed=3, shared=128, correction=True, layout="fp8",
        routing=Routing(before="sigmoid", renormalise=True, epsilon=1e-20, scale=2.5),
    ),
    Case(
        name="gpt_oss_mxfp4",
        config="GptOssConfig",
        keys={"num_hidden_layers": 1, "head_dim": 16, "swiglu_limit": 1.5},
        hidden=96, intermediate=64, experts=6, k=2, tokens=11, seed=1, biases=True, layout="mxfp4",
        routing=Routing(before="none", after="softmax"), activation=ClampedSwiglu(limit=1.5), names={"router": "router"},
    ),
    Case(
        name="llama4_text",
        config="Llama4TextConfig",
        keys={"num_hidden_layers": 2, "interleave_moe_layer_step": 2, "intermediate_size_mlp": 8, "head_dim": 8},
        hidden=48, intermediate=25, experts=6, k=1, tokens=13, seed=1, layer=1, shared=25, weight_on_input=True,
        layout="transposed", routing=Routing(before="none", after="sigmoid"), names=LLAMA4_NAMES,
    ),
    Case(  # as published: the text model is a part of one that sees images
        name="llama4",
        config="Llama4Config",
        keys={"num_hidden_layers": 2, "moe_layers": [0], "intermediate_size_mlp": 8, "head_dim": 8},
        hidden=44, intermediate=22, experts=5, k=2, tokens=9, seed=2, dtype=torch.float32, shared=22, weight_on_input=True,
        layout="transposed", routing=Routing(before="none", after="sigmoid"),
        names=LLAMA4_NAMES | {"model": "language_model.model"},
    ),
    # Checked, but not committed: families whose code differs little from the above.
    Case(
        name="deepseek_v2",
        config="DeepseekV2Config",
        keys={"num_hidden_layers": 1, "first_k_dense_replace": 0, "topk_method": "greedy", "n_shared_experts": 1,
              "norm_topk_prob": False, "routed_scaling_factor": 1.5},
        hidden=48, intermediate=24, experts=9, k=3, tokens=9, seed=8, shared=24, committed=False,
        routing=Routing(scale=1.5),
    ),
    Case(
        name="deepseek_v2_groups",
        config="DeepseekV2Config",
        keys={"num_hidden_layers": 1, "first_k_dense_replace": 0, "topk_method": "group_limited_greedy", "n_group": 4,
              "topk_group": 2, "n_shared_experts": 1, "norm_topk_prob": False, "routed_scaling_factor": 16.0},
        hidden=48, intermediate=24, experts=12, k=3, tokens=9, seed=10, shared=24, committed=False,
        routing=Routing(groups=4, groups_picked=2, group_top=1, scale=16.0),
    ),
    Case(
        name="glm4_moe",
        config="Glm4MoeConfig",
        keys={"num_hidden_layers": 2, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "n_shared_experts": 1,
              "norm_topk_prob": True, "routed_scaling_factor": 1.0},
        hidden=48, intermediate=24, experts=8, k=3, tokens=9, seed=3, layer=1, shared=24, correction=True, committed=False,
        routing=Routing(before="sigmoid", renormalise=True, epsilon=1e-20),
    ),
]

# What the parts of the model that are no MoE layer need, as small as can be.
ATTENTION = {"vocab_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 32,
             "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
# Of the part that sees images.
VISION = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8,
          "patch_size": 4, "vision_output_dim": 8, "projector_input_dim": 8, "projector_output_dim": 8}
LATENT_ATTENTION = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}


def make_config(case):
    sizes = {"hidden_size": case.hidden, "num_experts_per_tok": case.k, "hidden_act": "silu"}
    deepseek = "n_shared_experts" in case.keys
    local = case.name == "mixtral" or case.config == "GptOssConfig" or case.weight_on_input
    sizes["n_routed_experts" if deepseek else "num_local_experts" if local else "num_experts"] = case.experts
    if local or case.name == "olmoe":
        sizes["intermediate_size"] = case.intermediate
    else:
        sizes |= {"moe_intermediate_size": case.intermediate, "intermediate_size": 8}
    attention = ATTENTION | (LATENT_ATTENTION if "Deepseek" in case.config else {})
    if case.config == "Llama4Config":
        text = transformers.Llama4TextConfig(**sizes, **case.keys, **attention, dtype=case.dtype)
        return transformers.Llama4Config(text_config=text, vision_config=transformers.Llama4VisionConfig(**VISION), dtype=case.dtype)
    return getattr(transformers, case.config)(**sizes, **case.keys, **attention, dtype=case.dtype)


def write_config(case, config, folder):
    """config.json as transformers writes it; for the hub's layout with the keys that configs on the hub have."""
    config.save_pretrained(folder)
    path = folder / "config.json"
    keys = json.loads(path.read_text())
    if case.layout in quantised.CONFIGS:
        keys["quantization_config"] = quantised.CONFIGS[case.layout]
    if case.layout not in ("fused", "interleaved", "transposed", "mxfp4"):
        keys["torch_dtype"] = keys.pop("dtype")
        if "n_routed_experts" not in keys and case.name != "mixtral":
            keys["num_experts"] = keys.pop("num_local_experts", keys.get("num_experts"))
    path.write_text(json.dumps(dict(sorted(keys.items())), indent=2) + "\n")


def random_weights(case, generator):
    """Weights by role; values that the case's dtype holds exactly. Sums over H and I stay near 1."""

    def normal(*shape, std):
        return (torch.randn(*shape, generator=generator) * std).to(case.dtype)

    def matrices(rows):
        return {
            "gate": normal(rows, case.hidden, std=case.hidden**-0.5),
            "up": normal(rows, case.hidden, std=case.hidden**-0.5),
            "down": normal(case.hidden, rows, std=rows**-0.5),
        }

    weights = {"router": normal(case.experts, case.hidden, std=1.5 * case.hidden**-0.5)}
    if case.correction:  # large enough to change choices, and float32 in checkpoints whatever the model's dtype is
        weights["correction"] = torch.randn(case.experts, generator=generator) * 0.2
    weights["expert"] = [matrices(case.intermediate) for _ in range(case.experts)]
    if case.biases:
        weights["router_bias"] = normal(case.experts, std=0.5)
        for expert in weights["expert"]:
            expert |= {"gate_bias": normal(case.intermediate, std=0.5), "up_bias": normal(case.intermediate, std=0.5),
                       "down_bias": normal(case.hidden, std=0.5)}
    if case.shared:
        weights |= {"shared_" + role: weight for role, weight in matrices(case.shared).items()}
    if case.shared_router:
        weights["shared_router"] = normal(1, case.hidden, std=case.hidden**-0.5)
    return weights


def by_name(case, weights):
    """The same weights under their names in a checkpoint."""
    names = DEFAULT_NAMES | case.names
    block = f"{names['model']}.layers.{case.layer}.{names['block']}."
    tensors = {f"{block}{names['router']}.weight": weights["router"]}
    if case.config == "GptOssConfig":
        return tensors | interleaved(f"{block}{names['router']}.bias", block + "experts.", weights)
    if "correction" in weights:
        tensors[block + "gate.e_score_correction_bias"] = weights["correction"]
    for role in ("gate", "up", "down"):
        if case.shared:
            tensors[f"{block}{names['shared']}.{names[role]}.weight"] = weights["shared_" + role]
        if case.layout not in ("fused", "transposed"):
            for expert, matrices in enumerate(weights["expert"]):
                tensors[f"{block}experts.{expert}.{names[role]}.weight"] = matrices[role]
    if case.layout == "fused":
        fused = [torch.cat([matrices["gate"], matrices["up"]]) for matrices in weights["expert"]]
        tensors[block + "experts.gate_up_proj"] = torch.stack(fused)
        tensors[block + "experts.down_proj"] = torch.stack([matrices["down"] for matrices in weights["expert"]])
    if case.layout == "transposed":
        fused = [torch.cat([matrices["gate"], matrices["up"]]).T for matrices in weights["expert"]]
        tensors[block + "experts.gate_up_proj"] = torch.stack(fused).contiguous()
        tensors[block + "experts.down_proj"] = torch.stack([matrices["down"].T for matrices in weights["expert"]]).contiguous()
    if case.shared_router:
        tensors[block + "shared_expert_gate.weight"] = weights["shared_router"]
    return tensors


def interleaved(router_bias, experts, weights):
    """gpt-oss's tensors: columns of gate and up alternate, matrices lie transposed."""

    def stacked(make):
        return torch.stack([make(matrices) for matrices in weights["expert"]]).contiguous()

    return {
        router_bias: weights["router_bias"],
        experts + "gate_up_proj": stacked(lambda m: torch.stack([m["gate"].T, m["up"].T], dim=-1).flatten(1)),
        experts + "gate_up_proj_bias": stacked(lambda m: torch.stack([m["gate_bias"], m["up_bias"]], dim=-1).flatten()),
        experts + "down_proj": stacked(lambda m: m["down"].T),
        experts + "down_proj_bias": stacked(lambda m: m["down_bias"]),
    }


def write_checkpoint(case, tensors, folder):
    metadata = {"format": "pt"}
    if case.layout != "sharded":
        save_file(tensors, folder / "model.safetensors", metadata)
        return
    # Every other tensor, so that one expert's matrices and one role's experts lie in different files.
    names, shards = sorted(tensors), ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for part, shard in enumerate(shards):
        save_file({name: tensors[name] for name in names[part::2]}, folder / shard, metadata)
    index = {
        "metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())},
        "weight_map": {name: shards[place % 2] for place, name in enumerate(names)},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def run_transformers(case, folder, hidden):
    """What the MoE module of the model that transformers loads from `folder` makes of `hidden`, and what it routed."""
    auto = transformers.AutoModelForImageTextToText if case.config == "Llama4Config" else transformers.AutoModelForCausalLM
    model, info = auto.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, attn_implementation="eager", experts_implementation="eager",
        **quantised.loading(case.layout)
    )
    block_name = "feed_forward" if case.weight_on_input else "mlp"
    missing = [name for name in info["missing_keys"] if f"layers.{case.layer}.{block_name}." in name and "vision" not in name]
    if missing or info["unexpected_keys"] or info["mismatched_keys"]:
        raise SystemExit(f"{case.name}: transformers misses {missing}, does not expect {info['unexpected_keys']} or finds "
                         f"other shapes in {info['mismatched_keys']}")
    text = model.language_model.model if "Llama4ForConditional" in type(model).__name__ else model.model
    block = getattr(text.layers[case.layer], block_name).eval()
    routed = []
    router = getattr(block, (DEFAULT_NAMES | case.names)["router"])
    router.register_forward_hook(lambda module, inputs, result: routed.append(result))
    with torch.no_grad():
        output = block(hidden.float()[None])
    output = (output[0] if isinstance(output, tuple) else output).reshape(hidden.shape)  # gpt-oss also returns the weights
    if case.weight_on_input:  # scores of all experts, 0 for those not chosen, and logits
        scores, logits = routed[0]
        ids = torch.topk(logits, case.k, dim=-1).indices
        weights = scores.gather(-1, ids)
    else:
        _, weights, ids = routed[0]
    return output.double().numpy(), ids.numpy(), weights.double().numpy()


def double(value):
    """Tensors, and lists and dicts of them, as float64 arrays."""
    if isinstance(value, list):
        return [double(entry) for entry in value]
    return {role: double(entry) for role, entry in value.items()} if isinstance(value, dict) else value.double().numpy()


def without(weights, role):
    """The same experts without one role's bias."""
    experts = [{name: value for name, value in expert.items() if name != role} for expert in weights["expert"]]
    return weights | {"expert": experts}


def mistakes(case, weights):
    """Routings that are wrong by one rule each, by the rule's name, with the weights to run them on."""
    routing = case.routing
    if case.biases:
        yield "router bias", routing, weights | {"router_bias": 0.0}
        for role in ("gate_bias", "up_bias", "down_bias"):
            yield role, routing, without(weights, role)
    if routing.groups > 1:
        yield "groups", replace(routing, groups=1), weights
        yield "group_top", replace(routing, group_top=3 - routing.group_top), weights
    if "correction" in weights:
        yield "correction", routing, {role: value for role, value in weights.items() if role != "correction"}
    if routing.after == "none":
        yield "renormalise", replace(routing, renormalise=not routing.renormalise), weights
    if routing.scale != 1.0:
        yield "scale", replace(routing, scale=1.0), weights
    yield "scoring", replace(routing, before="softmax" if routing.before == "sigmoid" else "sigmoid"), weights


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def require(case, holds, what):
    if not holds:
        raise SystemExit(f"{case.name}: {what}")


def make(case, folder):
    """Writes one family's folder; ends the process if transformers and the reference disagree."""
    generator = torch.Generator().manual_seed(case.seed)
    weights = random_weights(case, generator)
    hidden = torch.randn(case.tokens, case.hidden, generator=generator).to(case.dtype)
    folder.mkdir(parents=True, exist_ok=True)
    write_config(case, make_config(case), folder)
    tensors = by_name(case, weights)
    if case.layout in quantised.CONFIGS:
        tensors, weights = quantised.store(case.layout, tensors), quantised.round_trip(case.layout, weights)
    write_checkpoint(case, tensors, folder)

    output, ids, chosen = run_transformers(case, folder, hidden)
    inputs = hidden.double().numpy()
    def layer(routing, weights, activation=case.activation, weight_on_input=case.weight_on_input):
        return reference.layer(routing, case.k, inputs, weights, activation, weight_on_input)

    expected, expected_ids, expected_weights, margin = layer(case.routing, double(weights))
    # Some families leave the chosen unsorted: compare experts and weights in the order of the experts.
    order, expected_order = np.argsort(ids, axis=-1), np.argsort(expected_ids, axis=-1)
    take = np.take_along_axis
    require(case, (take(ids, order, -1) == take(expected_ids, expected_order, -1)).all(), "other experts than the reference")
    weights_error = relative(take(chosen, order, -1), take(expected_weights, expected_order, -1))
    error = relative(output, expected)
    require(case, error <= MAX_ERROR and weights_error <= MAX_ERROR,
            f"output is {error:.1e} and weights are {weights_error:.1e} from the reference, more than {MAX_ERROR}")
    require(case, margin >= MIN_MARGIN, f"a choice is decided by {margin:.1e} only; take another seed")
    for rule, routing, other in mistakes(case, double(weights)):
        wrong = relative(layer(routing, other)[0], expected)
        require(case, wrong >= LEAST_DIFFERENCE, f"the data would not show a mistake in {rule}; take another seed")
    if isinstance(case.activation, ClampedSwiglu):
        for rule, activation in (("limit", ClampedSwiglu(case.activation.alpha)), ("alpha", replace(case.activation, alpha=1.0)),
                                 ("activation", silu_times)):
            wrong = relative(layer(case.routing, double(weights), activation)[0], expected)
            require(case, wrong >= LEAST_DIFFERENCE, f"the data would not show a mistake in {rule}; take another seed")
    if case.weight_on_input:
        wrong = relative(layer(case.routing, double(weights), weight_on_input=False)[0], expected)
        require(case, wrong >= LEAST_DIFFERENCE, "the data would not show weights on the wrong side; take another seed")
    unused = case.experts - len(np.unique(ids))
    print(f"{case.name}: output {error:.1e}, weights {weights_error:.1e} from the reference; margin {margin:.1e}; "
          f"{unused} idle experts")

    # Ids and weights as moe.top_k has them, best first; the values are transformers'.
    back = np.argsort(expected_order, axis=-1)
    ids, chosen = (take(take(values, order, -1), back, -1) for values in (ids, chosen))
    save_file({"hidden_states": hidden}, folder / "input.safetensors")
    save_file({"output": torch.from_numpy(output).float(), "ids": torch.from_numpy(ids.astype(np.int32)),
               "weights": torch.from_numpy(chosen).float()}, folder / "expected.safetensors")


def compare(case, made, committed):
    """Everything but `output` and `weights`, whose last bits depend on the machine, must be as committed."""
    names = sorted(path.name for path in made.iterdir())
    require(case, names == sorted(path.name for path in committed.iterdir()), f"{committed} has other files than {names}")
    for name in names:
        if name.endswith(".json"):
            skip = {"transformers_version"}
            old, new = ({key: value for key, value in json.loads((folder / name).read_text()).items() if key not in skip}
                        for folder in (committed, made))
            require(case, old == new, f"{name} differs")
            continue
        old, new = load_file(committed / name), load_file(made / name)
        require(case, old.keys() == new.keys(), f"{name} has other tensors")
        for tensor in old:
            close = name == "expected.safetensors" and tensor != "ids"
            same = relative(new[tensor].double().numpy(), old[tensor].double().numpy()) <= MAX_ERROR if close \
                else torch.equal(old[tensor], new[tensor])
            require(case, same and old[tensor].dtype == new[tensor].dtype, f"{tensor} in {name} differs")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with what is committed, and write nothing")
    check = parser.parse_args().check
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, numpy {np.__version__}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        for case in CASES:
            committed = case.committed and not check
            folder = (HERE if committed else pathlib.Path(scratch)) / case.name
            make(case, folder)
            if case.committed and check:
                compare(case, folder, HERE / case.name)


if __name__ == "__main__":
    main()
