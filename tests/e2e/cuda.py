"""`moec compile` for GPUs: no GPU needed, but NVRTC. Without it these report themselves skipped."""

import pathlib
import tempfile

from support import GOLDEN, MoecTest, main

OLMOE = GOLDEN / "configs" / "olmoe-1b-7b"
DEEPSEEK = GOLDEN / "configs" / "deepseek-v3"
DEEPSEEK_V2 = GOLDEN / "configs" / "deepseek-v2-lite"


class Cuda(MoecTest):
    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.shared.cleanup)

    def setUp(self):
        super().setUp()
        self.own_cache, self.cache = self.cache, pathlib.Path(self.shared.name)  # most tests want the same kernels
        nvrtc = next(library for library in self.expect_json("doctor")["libraries"] if library["name"] == "NVRTC")
        if not nvrtc["found"]:
            self.skipTest(f"no NVRTC: {nvrtc['problem']}")

    def test_a_package_comes_from_the_cache_the_second_time(self):
        self.cache = self.own_cache
        compile_it = ("compile", OLMOE, "--layer", 0, "--target=sm_80", "-o", "olmoe.moecpkg")
        first = self.expect_json(*compile_it)
        self.assertEqual(first["kernels_built"], first["images"])
        self.assertEqual((first["isa"], first["cache_hit"]), ("sm_80", False))
        second = self.expect_json(*compile_it)
        self.assertEqual((second["kernels_built"], second["cache_hit"]), (0, True))
        # Another size of step is another package; its kernels may all be there.
        self.assertEqual(self.expect_json(*compile_it, "--tokens=250")["cache_hit"], False)

    def test_inspect_and_explain_tell_of_kernels(self):
        explained = self.expect_json("compile", OLMOE, "--layer", 0, "--target=h100", "-o", "x", "--explain")["explanation"]
        launches = [choice["launch"] for choice in explained["plans"][0]["tiles"]]
        self.assertEqual(launches, ["gate-up", "down"])
        self.assertEqual(len(explained["plans"][0]["runners_up"]), 3)
        for kernel in explained["kernels"]:
            self.assertGreater(kernel["resources"]["registers"], 0, kernel)
            self.assertGreater(kernel["resources"]["compile_ms"], 0, kernel)
        text = self.expect(0, "inspect", "x").stdout
        for part in ("target h100 (sm_90a)", "cuda{element=bf16", "registers", "combine-bf16-k8"):
            self.assertIn(part, text)
        again = self.expect(0, "compile", OLMOE, "--layer", 0, "--target=h100", "--explain").stdout
        for part in ("H100, 132 multiprocessors", "runners-up", "generation 0", "from the cache"):
            self.assertIn(part, again)

    def test_e4m3_checkpoints_get_e4m3_kernels_on_hopper_alone_and_unless_told_not_to(self):
        def kernels(model, target):
            explained = self.expect_json("compile", model, "--layer", 3, f"--target={target}", "-o", "x", "--explain")["explanation"]
            return explained["plans"][0], {kernel["name"] for kernel in explained["kernels"]}

        plan, names = kernels(DEEPSEEK, "h100")
        self.assertTrue(any(name.startswith("fp8-gateup-") for name in names), names)
        self.assertIn("quantise-bf16-joined", names)
        self.assertGreater(plan["quantise_us"], 0)
        self.assertEqual(plan["few_tokens"], {"gate_up": False, "down": False})
        self.assertTrue(plan["shared_joins"])
        self.assertEqual([choice["launch"] for choice in plan["tiles"]], ["gate-up", "down"])
        self.assertTrue(all(other["gate_up"].startswith("fp8") for other in plan["runners_up"]), plan)
        text = self.expect(0, "compile", DEEPSEEK, "--layer", 3, "--target=h100", "--explain").stdout
        # Tiles of 256 weights have all columns of a scale.
        quantised = "gate-up gives its own so" if "x256-" in plan["tiles"][0]["tile"] else "before each product"
        for part in ("experts stored in e4m3", quantised, "fp8-", "joins the routed ones"):
            self.assertIn(part, text)
        self.assertNotIn("few tokens", text)

        one = ("compile", DEEPSEEK, "--layer", 3, "--target=h200", "--tokens=1", "-o", "x", "--explain")
        explained = self.expect_json(*one)["explanation"]
        self.assertEqual(explained["plans"][0]["few_tokens"], {"gate_up": True, "down": False})
        self.assertIn("gateupfew-fp8", {kernel["name"] for kernel in explained["kernels"]})
        self.assertIn("gate-up in a kernel of its own", self.expect(0, *one).stdout)

        self.expect(0, "import", DEEPSEEK, "--plain-weights", "-o", "plain.mlir")
        told = self.expect_json("compile", DEEPSEEK, "--plain-weights", "--layer", 3, "--target=h100", "-o", "x", "--explain")
        self.assertTrue(all(choice["tile"].startswith("fp8") is False for choice in told["explanation"]["plans"][0]["tiles"]))
        self.expect(2, "compile", "plain.mlir", "--plain-weights", "--layer", 3, "--target=h100", "-o", "x",
                    says=["can be asked of a config.json alone"])
        for model, target in (("plain.mlir", "h100"), (DEEPSEEK, "sm_80")):
            plan, names = kernels(model, target)
            self.assertFalse(any(name.startswith(("fp8", "quantise")) for name in names), names)
            self.assertEqual(plan["quantise_us"], 0)
            self.assertTrue(plan["shared_joins"])

    def test_kernels_go_to_a_folder_under_readable_names(self):
        for emit in ("cuda", "ptx", "cubin"):
            self.expect(0, "compile", DEEPSEEK, "--layer", 3, "--target=sm_80", f"--emit={emit}", "-o", emit)
        names = {emit: {path.stem for path in (self.folder / emit).iterdir()} for emit in ("cuda", "ptx", "cubin")}
        self.assertEqual(names["cuda"], names["ptx"])
        self.assertEqual(names["cuda"], names["cubin"])
        self.assertIn("combine-bf16-k8", names["cuda"])
        def count(folder, end):
            return sum(path.stem.endswith(end) for path in (self.folder / folder).iterdir())

        # DeepSeek-V3's shared expert is one more routed one to dispatch; V2's is larger than these and has products of its own.
        self.assertEqual((count("cuda", "-dense"), count("cuda", "-joined")), (0, 5))
        self.expect(0, "compile", DEEPSEEK_V2, "--layer", 3, "--target=sm_80", "--emit=cuda", "-o", "v2")
        self.assertEqual((count("v2", "-dense"), count("v2", "-joined")), (2, 0))
        cubin = (self.folder / "cubin" / "combine-bf16-k8.cubin").read_bytes()
        self.assertTrue(cubin.startswith(b"\x7fELF"))
        self.assertIn(".target sm_80", (self.folder / "ptx" / "combine-bf16-k8.ptx").read_text())
        self.assertIn("moec::combine<", (self.folder / "cuda" / "combine-bf16-k8.cu").read_text())

    def test_other_architectures_take_the_portable_family(self):
        for target in ("sm_89", "sm_90", "sm_100", "sm_120"):
            explained = self.expect_json("compile", OLMOE, "--layer", 0, f"--target={target}", "-o", "x", "--explain")
            self.assertEqual(explained["isa"], target)
            self.assertGreater(explained["images"], 0)
            kernels = {kernel["name"] for kernel in explained["explanation"]["kernels"]}
            self.assertEqual({name.partition("-")[0] for name in kernels if "gateup" in name or "down" in name}, {"portable"}, kernels)

    def test_cuda_goes_to_stdout_too(self):
        text = self.expect(0, "compile", OLMOE, "--layer", 0, "--target=sm_80", "--emit=cuda").stdout
        self.assertIn("struct LayerActivation {", text)
        self.assertEqual(text.count("// Instantiated: "), text.count("#include"))

    def test_flags_of_nvrtc_are_warned_about_and_kept_apart(self):
        call = ("compile", OLMOE, "--layer", 0, "--target=sm_80", "-o", "x")
        self.expect(0, *call)
        flags = {"NVRTC_APPEND_FLAGS": "-lineinfo"}
        done = self.expect(0, *call, "--format=json", says=["NVRTC_APPEND_FLAGS is set"], variables=flags)
        self.assertIn('"cache_hit": false', done.stdout)
        self.assertNotIn('"kernels_built": 0', done.stdout)


if __name__ == "__main__":
    main()
