"""FlashInfer's CUTLASS fused MoE, with the tactics that its autotuner picks for just this number of tokens."""

import contextlib

from rivals.protocol import Rival, Variant, need, need_function, takes

MODULE = "flashinfer.fused_moe"
PARAMETERS = ("input", "token_selected_experts", "token_final_scales", "fc1_expert_weights", "fc2_expert_weights", "output_dtype",
              "quant_scales")


class FlashInferCutlass(Rival):
    name = package = "flashinfer"
    distributions = ("flashinfer-python",)
    known = "0.2.9 to 0.7.2, by the parameters named here; never run here. Its first call builds the kernels with nvcc, for minutes"

    def check(self):
        need_function(MODULE, "cutlass_fused_moe", *PARAMETERS)

    def build(self, layer):
        import torch

        cutlass_fused_moe = need_function(MODULE, "cutlass_fused_moe")
        # It wants an expert's up before its gate.
        w31 = torch.cat([layer.w13[:, layer.intermediate:], layer.w13[:, : layer.intermediate]], 1)
        autotune = getattr(need("flashinfer"), "autotune", None)

        def tuning(tune, tokens):
            """In newer versions for this number of tokens alone, else for its list of them."""
            if autotune is None:
                return contextlib.nullcontext()
            return autotune(tune, tuning_buckets=(tokens,)) if takes(autotune, "tuning_buckets") else autotune(tune)

        def run(x, ids, weights, _, tune=False):
            most = {"tune_max_num_tokens": max(8192, len(x))} if takes(cutlass_fused_moe, "tune_max_num_tokens") else {}
            with tuning(tune, len(x)):
                y = cutlass_fused_moe(input=x, token_selected_experts=ids, token_final_scales=weights, fc1_expert_weights=w31,
                                      fc2_expert_weights=layer.w2, output_dtype=torch.bfloat16, quant_scales=[], **most)
            return y if torch.is_tensor(y) else y[0]

        def tune(ids, weights):
            run(torch.randn(ids.shape[0], layer.hidden, device="cuda", dtype=torch.bfloat16), ids, weights, None, tune=True)

        return [Variant("tuned", run, prepare=tune)]
