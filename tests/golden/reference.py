"""The semantics of the `moe` dialect's ops (ir/MoeOps.td), in float64 and as plainly as possible.

Written from the ops' descriptions, not from any model's code: make.py compares the two.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Routing:
    """As RouterSpec in compiler/core/LayerShape.h."""

    before: str = "softmax"  # over all experts, before top-k: softmax, sigmoid or none
    after: str = "none"  # over the chosen K only
    groups: int = 1
    groups_picked: int = 1
    group_top: int = 1
    renormalise: bool = False
    epsilon: float = 0.0
    scale: float = 1.0


def score(kind, logits):
    """moe.score, over the last dimension."""
    if kind == "softmax":
        exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return exp / exp.sum(axis=-1, keepdims=True)
    return 1 / (1 + np.exp(-logits)) if kind == "sigmoid" else logits


def best(values, count):
    """Indices of the `count` largest of each row, best first; ties go to the lower index."""
    return np.argsort(-values, axis=-1, kind="stable")[..., :count]


def least_step(values, count):
    """The least difference between neighbours among the `count` + 1 largest of a row."""
    return np.diff(np.sort(-values, axis=-1)[:, : count + 1], axis=-1).min()


def top_k(routing, scores, correction, k):
    """moe.top_k: ids and weights [T, k], and the least difference that decides about a group, an expert or the order."""
    choice = scores + correction
    margin = np.inf
    if routing.groups > 1:
        grouped = choice.reshape(len(choice), routing.groups, -1)
        ranks = np.sort(grouped, axis=-1)[..., -routing.group_top :].sum(axis=-1)
        margin = least_step(ranks, routing.groups_picked)
        picked = np.zeros_like(ranks, dtype=bool)
        np.put_along_axis(picked, best(ranks, routing.groups_picked), True, axis=-1)
        choice = np.where(picked[..., None], grouped, -np.inf).reshape(choice.shape)
    ids = best(choice, k)
    margin = min(margin, least_step(choice, k))
    return ids, np.take_along_axis(scores, ids, axis=-1), margin


def silu(x):
    return x / (1 + np.exp(-x))


def silu_times(gate, up):
    """What most models have for an activation."""
    return silu(gate) * up


@dataclass(frozen=True)
class ClampedSwiglu:
    """gpt-oss's activation (compiler/import/Activation.h)."""

    alpha: float = 1.702
    limit: float = 7.0

    def __call__(self, gate, up):
        gate, up = np.minimum(gate, self.limit), np.clip(up, -self.limit, self.limit)
        return gate / (1 + np.exp(-self.alpha * gate)) * (up + 1)


def ffn(rows, weights, prefix="", activation=silu_times):
    """One expert of moe.expert_ffn: rows [n, H], gate and up [I, H], down [H, I]; perhaps gate_bias, up_bias, down_bias."""

    def product(rows, role):
        return rows @ weights[prefix + role].T + weights.get(f"{prefix}{role}_bias", 0.0)

    return product(activation(product(rows, "gate"), product(rows, "up")), "down")


def layer(routing, k, hidden, weights, activation=silu_times, weight_on_input=False):
    """A whole layer: hidden [T, H] to (output [T, H], ids [T, k], weights [T, k], margin of the choice).

    `weights` has router [E, H], router_bias [E] and correction [E] or nothing, expert (a list of {gate, up, down} and perhaps
    their biases), and, where the layer has a shared expert, shared_gate, shared_up, shared_down and perhaps shared_router
    [1, H]. A pair's weight multiplies what its expert gives or, with `weight_on_input`, what it takes in.
    """
    logits = hidden @ weights["router"].T + weights.get("router_bias", 0.0)
    scores = score(routing.before, logits)
    ids, chosen, margin = top_k(routing, scores, weights.get("correction", 0.0), k)
    chosen = score(routing.after, chosen)
    if routing.renormalise:
        chosen = chosen / (chosen.sum(axis=-1, keepdims=True) + routing.epsilon)
    chosen = chosen * routing.scale
    output = np.zeros_like(hidden)
    if "shared_gate" in weights:
        output += ffn(hidden, weights, "shared_", activation)
    if "shared_router" in weights:
        output *= score("sigmoid", hidden @ weights["shared_router"].T)
    for expert, expert_weights in enumerate(weights["expert"]):
        tokens, position = np.nonzero(ids == expert)
        weight = chosen[tokens, position, None]
        taken, given = (weight, 1.0) if weight_on_input else (1.0, weight)
        output[tokens] += given * ffn(taken * hidden[tokens], expert_weights, activation=activation)
    return output, ids, chosen, margin
