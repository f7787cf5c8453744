"""OpenAI's triton_kernels: routing, a grouped product with gather and activation inside, one with scatter and weights inside.

It routes by itself, so it gets router logits that make it choose the given experts with the given weights. Three generations
of its interface: `routing` with `matmul_ogs` (Triton 3.4 and 3.5; also as Hugging Face's kernel gpt_oss_triton_kernels),
`matmul_ogs` over ragged metadata (3.6), and `matmul`.
"""

import dataclasses
import importlib.util

from rivals.protocol import Missing, Rival, UnknownInterface, Variant, need, need_hopper

PACKAGES = ("triton_kernels", "gpt_oss_triton_kernels", "vllm.third_party.triton_kernels")


def has(module):
    try:
        return importlib.util.find_spec(module) is not None
    except Exception:  # of the package that holds it
        return False


class TritonKernels(Rival):
    name = "triton_kernels"
    distributions = ("triton-kernels", "triton_kernels")
    known = "Triton 3.4 and 3.5's (run as Hugging Face's gpt_oss_triton_kernels, with Triton 3.6); newer ones, never run here"

    def where(self):
        """(package, generation)"""
        present = [package for package in PACKAGES if has(package)]
        if not present:
            raise Missing(f"missing: none of {', '.join(PACKAGES)}")
        for package in present:
            for module, generation in (("routing", self.build_routing), ("matmul_ogs", self.build_ragged_ogs),
                                       ("matmul", self.build_ragged)):
                if has(f"{package}.{module}"):
                    return package, generation
        raise UnknownInterface(f"{present[0]} has none of routing, matmul_ogs, matmul")

    @property
    def package(self):
        return self.where()[0]

    def check(self):
        package, _ = self.where()
        need(f"{package}.tensor")
        need_hopper()  # older GPUs have no persistent kernels there

    def version(self):
        return super().version() if self.package == "triton_kernels" else f"as {self.package}"

    def build(self, layer):
        import torch

        package, generation = self.where()
        gate, up = layer.w13.chunk(2, 1)
        w13 = torch.stack([gate, up], 2).flatten(1, 2).transpose(1, 2)  # its activation takes gate and up in turns

        def logits(ids, weights):  # the softmax over the chosen ones is `weights` again, since those add up to 1
            return torch.full((len(ids), layer.experts), -1e4, device="cuda").scatter_(1, ids.long(), weights.log())

        return [Variant("own routing", generation(package, layer, w13, layer.w2.transpose(1, 2)), prepare=logits)]

    @staticmethod
    def activation(module):
        from rivals.fused_triton import silu_mul_in_turns

        in_specs = "reduction_n" in {field.name for field in dataclasses.fields(module.FnSpecs)}
        if in_specs:
            return module.FusedActivation(module.FnSpecs("moec_silu_mul", silu_mul_in_turns, (), reduction_n=2), ())
        return module.FusedActivation(module.FnSpecs("moec_silu_mul", silu_mul_in_turns, ()), (), 2)

    def build_routing(self, package, layer, w13, w2):
        route, ogs = need(f"{package}.routing").routing, need(f"{package}.matmul_ogs")
        activation = self.activation(ogs)

        def run(x, ids, weights, logits):
            routing, gather, scatter = route(logits, layer.top_k)
            act = ogs.matmul_ogs(x, w13, None, routing, gather_indx=gather, fused_activation=activation)
            return ogs.matmul_ogs(act, w2, None, routing, scatter_indx=scatter, gammas=routing.gate_scal).view_as(x)

        return run

    def build_ragged_ogs(self, package, layer, w13, w2):
        topk, tensor, ogs = need(f"{package}.topk").topk, need(f"{package}.tensor"), need(f"{package}.matmul_ogs")
        activation = self.activation(ogs)

        def run(x, ids, weights, logits):
            chosen = topk(logits, layer.top_k)
            pair_of_row, row_of_pair = chosen.mask_metadata.col_sorted_indx, chosen.mask_metadata.row_sorted_indx
            ragged = tensor.make_ragged_tensor_metadata(chosen.mask_metadata.col_sum, row_of_pair.shape[0])
            gates = chosen.vals.flatten()[pair_of_row]
            routing = ogs.RoutingData(gates, ragged.block_sizes, layer.experts, layer.top_k, ragged)
            act = ogs.matmul_ogs(x, w13, None, routing, gather_indx=ogs.GatherIndx(pair_of_row, row_of_pair),
                                 fused_activation=activation)
            return ogs.matmul_ogs(act, w2, None, routing, scatter_indx=ogs.ScatterIndx(row_of_pair, pair_of_row),
                                  gammas=gates).view_as(x)

        return run

    def build_ragged(self, package, layer, w13, w2):
        topk, tensor = need(f"{package}.topk").topk, need(f"{package}.tensor")
        products, reduce = need(f"{package}.matmul"), need(f"{package}.reduce").reduce
        activation = self.activation(products)

        def run(x, ids, weights, logits):
            chosen = topk(logits, layer.top_k)
            pair_of_row = chosen.mask_metadata.col_sorted_indx
            ragged = tensor.make_ragged_tensor_metadata(chosen.mask_metadata.col_sum, pair_of_row.shape[0])
            act = products.matmul(x, w13, None, a_ragged_metadata=ragged, gather_indx=pair_of_row // layer.top_k,
                                  fused_activation=activation)
            y = products.matmul(act, w2, None, a_ragged_metadata=ragged, scatter_indx=pair_of_row,
                                gammas=chosen.vals.flatten()[pair_of_row])
            return reduce(y.view(-1, layer.top_k, layer.hidden), dim=1)[0]

        return run
