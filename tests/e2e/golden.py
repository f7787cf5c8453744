"""`moec run` computes what transformers computes, for each family in tests/golden."""

import json
import math
import unittest

from support import MoecTest, golden_families, main, read_safetensors, relative_error, write_safetensors

# f32 differs by the order of sums alone; bf16 rounds the activations between the two GEMMs, and the output.
MAX_ERROR = {"f32": 1e-5, "bf16": 1e-2, "f16": 2e-3}
# Tokens and what is activated are rounded to three bits of mantissa, some 2.6 % of each, which transformers does not do here.
MAX_E4M3_ERROR = 7e-2


class Golden(MoecTest):
    def check(self, folder, *arguments, **options):
        output = self.folder / f"{folder.name}.safetensors"
        report = self.expect_json("run", folder, "--layer", self.layer_of(folder), "--input", folder / "input.safetensors",
                                  "--output", output, "--routing", *arguments, **options)
        dtype, shape, found = read_safetensors(output)["output"]
        expected = read_safetensors(folder / "expected.safetensors")
        self.assertEqual(shape, expected["output"][1])
        error = relative_error(found, expected["output"][2])
        print(f"{folder.name} {' '.join(map(str, arguments))}: {report['dtype']}, relative L2 error {error:.2e}")
        e4m3 = report["expert_dtype"] == "e4m3"
        if e4m3:
            self.assertEqual(folder.name, "deepseek_v3_fp8")
            self.assertTrue(self.paths.device, "CPUs have no kernels of e4m3")
        self.assertLessEqual(error, MAX_E4M3_ERROR if e4m3 else MAX_ERROR[report["dtype"]])
        ids = expected["ids"][2]
        self.assertEqual(report["pairs"], [ids.count(expert) for expert in range(len(report["pairs"]))])
        return found

    def test_each_family_computes_what_transformers_computes(self):
        self.assertGreaterEqual(len(golden_families()), 5)
        for folder in golden_families():
            with self.subTest(family=folder.name):
                self.check(folder)

    def test_avx2_computes_the_same(self):
        for folder in golden_families():
            with self.subTest(family=folder.name):
                self.check(folder, "--target=cpu-avx2")

    def test_a_gpu_computes_the_same(self):
        if not self.paths.device:
            self.skipTest("no --device was given")
        for folder in golden_families():
            with self.subTest(family=folder.name):
                config = json.loads((folder / "config.json").read_text())
                if config.get("torch_dtype", config.get("dtype")) == "float32":
                    self.expect(2, "run", folder, "--layer", self.layer_of(folder), "--input", folder / "input.safetensors",
                                "--output", self.folder / "y.safetensors", f"--device={self.paths.device}",
                                says=["not in f32"])
                else:
                    self.check(folder, f"--device={self.paths.device}")

    def test_the_number_of_threads_changes_no_bit(self):
        folder = next(family for family in golden_families() if family.name == "mixtral")
        self.assertEqual(self.check(folder, "--threads=1"), self.check(folder, "--threads=3"))

    def test_a_package_runs_without_cache_and_compiler(self):
        folder = next(family for family in golden_families() if family.name == "mixtral")
        package, output = self.folder / "mixtral.moecpkg", self.folder / "y.safetensors"
        self.expect(0, "compile", folder, "-o", package)
        self.expect(0, "run", package, "--weights", folder, "--layer", 0, "--input", folder / "input.safetensors",
                    "--output", output, "--strict", "--no-cache", compiler="/nonexistent/libmoec-compiler.so")
        expected = read_safetensors(folder / "expected.safetensors")["output"][2]
        self.assertLessEqual(relative_error(read_safetensors(output)["output"][2], expected), MAX_ERROR["bf16"])

    def test_logits_that_are_not_finite_are_warned_of(self):
        folder = next(family for family in golden_families() if family.name == "mixtral")
        hidden = read_safetensors(folder / "input.safetensors")["hidden_states"][1][-1]
        given = self.folder / "nan.safetensors"
        write_safetensors(given, {"hidden_states": ([1, hidden], [math.nan] * hidden)})
        self.expect(0, "run", folder, "--layer", 0, "--input", given, "--output", self.folder / "y.safetensors",
                    says=["warning", "logits are not finite"])

    def test_an_input_that_the_layer_cannot_hold_is_rounded_and_said_so(self):
        folder = next(family for family in golden_families() if family.name == "mixtral")
        given, output = self.folder / "x.safetensors", self.folder / "y.safetensors"
        write_safetensors(given, {"hidden_states": ([1, 52], [1.0 + 2.0**-20] + [0.5] * 51)})
        done = self.expect(0, "run", folder, "--layer", 0, "--input", given, "--output", output,
                           says=["1 of 52 elements of the input were rounded from f32 to bf16"])
        self.assertIn("computed in bf16", done.stdout)
        self.assertEqual(read_safetensors(output)["output"][0], "F32")


if __name__ == "__main__":
    main()
