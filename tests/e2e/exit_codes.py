"""Each documented exit code that a command can end with, and that its message names the thing."""

import json
import shutil

from support import GOLDEN, MoecTest, main, write_safetensors

MIXTRAL = GOLDEN / "mixtral"
RUN = ("run", MIXTRAL, "--layer", 0, "--input", MIXTRAL / "input.safetensors", "--output", "y.safetensors")


class ExitCodes(MoecTest):
    def damage(self, path):
        data = bytearray(path.read_bytes())
        data[-20] ^= 1
        path.write_bytes(data)

    def test_0_ok(self):
        self.expect(0, "--version")
        self.expect(0, "doctor")
        self.expect(0, *RUN)

    def test_1_a_file_that_is_not_there(self):
        self.expect(1, "cache", "verify", says=[self.cache])  # nothing has made one yet
        self.expect(1, "compile", "nowhere.mlir", "-o", "x", says=["nowhere.mlir"])
        self.expect(1, "inspect", "nowhere.moecpkg", says=["nowhere.moecpkg"])

    def test_1_a_result_that_cannot_be_written(self):
        self.expect(1, "import", MIXTRAL, "-o", "no/folder/model.mlir", says=["no/folder/model.mlir"])

    def test_1_a_result_that_nobody_gets(self):
        with open("/dev/full", "w") as full:
            for call in (("--version",), ("inspect", MIXTRAL), ("bench", MIXTRAL, "--tokens=1", "--repeats=1"),
                         ("bench", MIXTRAL, "--tokens=1", "--repeats=1", "--format=json")):
                self.expect(1, *call, says=["stdout"], stdout=full)

    def test_1_a_trace_that_is_not_whole(self):
        self.expect(1, "bench", MIXTRAL, "--drift=none", "--seconds=0.5", "--trace=/dev/full",
                    says=["trace /dev/full", "lines could not be written"])

    def test_2_options_that_would_have_no_effect(self):
        for option in ("--trace=x", "--seconds=1", "--exhaustive"):
            self.expect(2, "bench", MIXTRAL, option, says=[option.split("=")[0], "--drift"])
        self.expect(2, "bench", MIXTRAL, "--drift=none", "--routing=uniform", says=["--routing", "--drift"])
        self.expect(0, "compile", MIXTRAL, "--stop-after=planned", "-o", "planned.mlir")
        for option in ("--tokens=4", "--pack-budget=10%", "--profile=nowhere.json"):
            self.expect(2, "compile", "planned.mlir", "-o", "x", option, says=[option.split("=")[0], "planned.mlir is planned already"])
        self.expect(0, "compile", "planned.mlir", "-o", "x")
        for seconds in ("nan", "-1", "0", "1e9", "soon"):
            self.expect(2, "bench", MIXTRAL, "--drift=none", f"--seconds={seconds}", says=[f"'{seconds}'", "0.1 to 86400"])

    def test_2_usage(self):
        self.expect(2, "compil", says=["'compil'", "did you mean 'compile'?"])
        self.expect(2, "compile", "--taget=cpu", says=["'--taget'", "did you mean '--target'?"])
        self.expect(2, "compile", says=["model"])
        self.expect(2, "compile", MIXTRAL, says=["-o is missing"])
        self.expect(2, "compile", MIXTRAL, "-o", "x", "--target=gpu", says=["'gpu'", "cpu-avx2", "sm_90a", "h100"])
        self.expect(2, "compile", MIXTRAL, "--emit=cubin", says=["-o is missing"])
        self.expect(2, "compile", MIXTRAL, "--emit=ptx", says=["target cpu has no 'ptx'"])
        self.expect(2, "compile", MIXTRAL, "-o", "x", "--layer=7", says=["no MoE layer 7"])
        self.expect(2, "compile", MIXTRAL, "-o", "x", "--pack-budget=lots", says=["'lots'"])
        self.expect(2, "cache", "gc", "--max-size=40%", says=["'40%'"])
        call = [*RUN]
        call[call.index("--output") + 1] = "-"
        self.expect(2, *call, says=["--output -", "stdout has the report"])

    def test_2_a_profile_of_another_model(self):
        profile = self.folder / "profile.json"
        profile.write_text(json.dumps({"schema": "moec.profile", "schema_version": 1,
                                       "layers": [{"layer": 0, "tokens": 4, "pairs": [8, 0]}]}))
        self.expect(2, "compile", MIXTRAL, "-o", "x", "--profile", profile, says=[profile, "layer 0"])

    def test_2_a_calibration_of_the_other_kind_of_device(self):
        gpu = {name: 1 for name in ("memory_bytes_per_ns", "per_sm_bytes_per_ns", "copy_bytes_per_ns", "overlap_loss", "launch_ns",
                                    "dispatch_ns", "dispatch_ns_per_pair", "dispatch_grid_ns")} | {"tiles": []}
        cpu = {"tile_ns_per_step": [1] * 17, "stream_ns_per_byte": 1, "pack_ns_per_byte": 1, "copy_ns_per_byte": 1,
               "section_ns": 1}
        for name, figures, target in (("gpu", {"gpu": gpu}, "cpu-avx2"), ("cpu", cpu, "h100")):
            file = self.folder / f"{name}.json"
            file.write_text(json.dumps({"schema": "moec.calibration", "schema_version": 2, "measured": True} | figures))
            olmoe = GOLDEN / "configs" / "olmoe-1b-7b"
            self.expect(2, "compile", olmoe, "--layer=0", "-o", "x", f"--target={target}", "--calibration", file,
                        says=[f"{file}: a calibration of a {name.upper()}", f"target {target} is a"])

    def test_2_hidden_states_that_do_not_fit(self):
        given = self.folder / "x.safetensors"
        call = [*RUN]
        call[call.index("--input") + 1] = given
        write_safetensors(given, {"hidden_states": ([1, 3], [1, 2, 3])})
        self.expect(2, *call, says=[given, "3 wide", "takes 52"])
        write_safetensors(given, {"states": ([1, 3], [1, 2, 3])})
        self.expect(2, *call, says=[given, "no tensor 'hidden_states'", "'states'"])

    def test_3_invalid_model(self):
        config = self.folder / "config.json"
        config.write_text(json.dumps({"model_type": "unheard_of"}))
        self.expect(3, "import", config, says=[config, "unheard_of"])
        model = self.folder / "model.mlir"
        model.write_text("func.func @layer_0() {")
        self.expect(3, "compile", model, "-o", "x", says=[model])
        self.assertFalse((self.folder / "x").exists())

    def test_3_a_model_that_the_target_cannot_run(self):
        config = json.loads((GOLDEN / "configs" / "olmoe-1b-7b" / "config.json").read_text())
        path = self.folder / "config.json"
        path.write_text(json.dumps(config | {"torch_dtype": "float32"}))
        self.expect(3, "compile", path, "--layer=0", "-o", "x", "--target=h100",
                    says=["is f32", "target h100 takes bf16 and f16"])

    def test_3_weights_that_do_not_fit(self):
        folder = self.folder / "model"
        shutil.copytree(MIXTRAL, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 27}))
        call = [*RUN]
        call[1] = folder
        self.expect(3, *call, says=["block_sparse_moe", "27", "25"])

    def test_4_compile_failed(self):
        self.expect(0, "inspect", MIXTRAL)  # the cache now answers all but the compile itself
        self.expect(4, "compile", MIXTRAL, "-o", "x", compiler=self.paths.failing_compiler, says=["tile_13 does not link"])
        self.assertFalse((self.folder / "x").exists())

    def test_5_device_missing(self):
        olmoe = GOLDEN / "configs" / "olmoe-1b-7b"
        self.expect(5, "compile", olmoe, "--layer=0", "-o", "x", "--target=sm_90a", variables={"MOEC_NVRTC_PATH": "/nowhere"},
                    says=["NVRTC", "/nowhere", "MOEC_NVRTC_PATH"])
        self.expect(5, *RUN, compiler="/nonexistent/libmoec-compiler.so", says=["/nonexistent/libmoec-compiler.so"])

    def test_6_corrupt_package(self):
        package = self.folder / "mixtral.moecpkg"
        self.expect(0, "compile", MIXTRAL, "-o", package)
        self.damage(package)
        self.expect(6, "inspect", package, says=[package])
        call = [*RUN]
        call[1] = package
        self.expect(6, *call, says=[package])

    def test_6_corrupt_cache(self):
        self.expect(0, "compile", MIXTRAL, "-o", "x")
        self.damage(next((self.cache / "kernels").iterdir()))
        self.expect(6, "cache", "verify", says=["1 corrupt", self.cache])
        self.expect(0, "cache", "verify", "--remove")
        self.expect(0, "cache", "verify")

    def test_9_compile_forbidden_but_needed(self):
        self.expect(9, *RUN, "--strict", says=["import"])
        self.expect(0, "inspect", MIXTRAL)
        self.expect(9, *RUN, "--strict", says=["package"])
        self.expect(0, *RUN)
        self.expect(0, *RUN, "--strict", compiler="/nonexistent/libmoec-compiler.so")


if __name__ == "__main__":
    main()
