"""FlashInfer's CUTLASS fused MoE, with the tactics that its autotuner picks for just this number of tokens."""

import contextlib

from rivals.protocol import Rival, Variant, need, need_function, need_hopper, takes

MODULE = "flashinfer.fused_moe"
PARAMETERS = ("input", "token_selected_experts", "token_final_scales", "fc1_expert_weights", "fc2_expert_weights", "output_dtype",
              "quant_scales")


def up_first(gate_up):
    """It wants an expert's up before its gate."""
    import torch

    rows = gate_up.view(torch.uint8) if gate_up.dtype == torch.float8_e4m3fn else gate_up
    gate, up = rows.chunk(2, 1)
    return torch.cat([up, gate], 1).view(gate_up.dtype)


def must_be_tuned(tokens):
    """Whatever fails while its tuner measures, it takes for a tactic that does not run: its delay kernel, too, which is a module that
    nvcc builds (trtllm_utils). With none left the layer runs its first tactic, some five times slower, and a line of its log says so."""
    tuner = need("flashinfer.autotuner").AutoTuner.get()
    tuned = {key.custom_op for key in tuner.profiling_cache if key.nearest_profile[0][0] == tokens}
    if len(tuned) < 2:
        raise RuntimeError(f"its tuner chose tactics for {sorted(tuned) or 'neither product'} only; failed: {tuner.stats.failed_tactics}")


class FlashInferCutlass(Rival):
    name = package = "flashinfer"
    distributions = ("flashinfer-python",)
    known = "0.2.9 to 0.7.2, by the parameters named here; run with 0.7.2. Its first call builds the kernels with nvcc, for minutes"
    tactics = True  # whether its autotuner has a choice

    def check(self):
        need_function(MODULE, "cutlass_fused_moe", *PARAMETERS)

    def build(self, layer):
        import torch

        cutlass_fused_moe = need_function(MODULE, "cutlass_fused_moe")
        w31, options = self.weights(layer)
        autotune = getattr(need("flashinfer"), "autotune", None)

        def tuning(tune, tokens):
            """In newer versions for this number of tokens alone, else for its list of them."""
            if autotune is None or not self.tactics:
                return contextlib.nullcontext()
            return autotune(tune, tuning_buckets=(tokens,)) if takes(autotune, "tuning_buckets") else autotune(tune)

        def run(x, ids, weights, _, tune=False):
            most = {"tune_max_num_tokens": max(8192, len(x))} if takes(cutlass_fused_moe, "tune_max_num_tokens") else {}
            with tuning(tune, len(x)):
                y = cutlass_fused_moe(input=x, token_selected_experts=ids, token_final_scales=weights, fc1_expert_weights=w31,
                                      fc2_expert_weights=layer.w2, output_dtype=torch.bfloat16, **options, **most)
            return y if torch.is_tensor(y) else y[0]

        def tune(ids, weights):
            run(torch.randn(ids.shape[0], layer.hidden, device="cuda", dtype=torch.bfloat16), ids, weights, None, tune=True)
            if autotune is not None and takes(autotune, "tuning_buckets"):
                must_be_tuned(ids.shape[0])

        return [Variant("tuned", run, prepare=tune) if self.tactics else Variant("its own rule", run)]

    def weights(self, layer):
        return up_first(layer.w13), {"quant_scales": []}


class FlashInferE4m3(FlashInferCutlass):
    """With block scales, for Hopper alone; it quantises tokens and activations by itself. Its products are an older DeepGEMM's, which nvcc
    builds as they are called for, with tiles by a rule: there is nothing to tune, and its tuner's tactics are of other layers."""

    known = "0.3 to 0.7.2, by the parameters named here; run with 0.7.2"
    tactics = False

    def check(self):
        need_function(MODULE, "cutlass_fused_moe", *PARAMETERS, "use_deepseek_fp8_block_scale")
        need_hopper()

    def weights(self, layer):
        return up_first(layer.w13), {"quant_scales": [up_first(layer.s13), layer.s2], "use_deepseek_fp8_block_scale": True}
