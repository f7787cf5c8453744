"""A recompile that the cache answers never loads the compiler: neither mapped nor needed."""

import json
import os
import pathlib
import subprocess

from support import GOLDEN, MoecTest, main


class WarmCache(MoecTest):
    def process(self, mode, compiler=None):
        program = self.paths.moec.parent / "warm-cache"
        return subprocess.run([program, GOLDEN / "olmoe", self.cache, compiler or self.paths.compiler, mode],
                              capture_output=True, text=True, timeout=240)

    def test_the_second_process_finds_everything(self):
        cold = self.process("auto")
        self.assertEqual(cold.returncode, 0, cold.stderr)
        first = json.loads(cold.stdout)
        self.assertGreater(first["kernels_built"], 0)
        self.assertEqual(first | {"kernels_built": 0},
                         {"generation": 1, "kernels_built": 0, "cache_hit": False, "compiler_mapped": True})

        for mode in ("auto", "strict"):
            with self.subTest(mode):
                warm = self.process(mode)
                self.assertEqual(warm.returncode, 0, warm.stderr)
                self.assertEqual(json.loads(warm.stdout),
                                 {"generation": 1, "kernels_built": 0, "cache_hit": True, "compiler_mapped": False})

        # Not even a file of that name is wanted.
        bare = self.process("auto", compiler=self.folder / "nowhere.so")
        self.assertEqual(bare.returncode, 0, bare.stderr)

    def compile_process(self, tokens, variables=None):
        program = self.paths.moec.parent / "warm-compile"
        done = subprocess.run([program, GOLDEN / "configs" / "olmoe-1b-7b", self.cache, self.paths.compiler, "sm_80", str(tokens)],
                              capture_output=True, text=True, timeout=240, env=os.environ | (variables or {}))
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        return result, (result["kernels_built"] > 0, result["cache_hit"], result["compiler_mapped"], result["nvrtc_mapped"])

    def test_kernels_for_a_gpu_that_are_all_cached_need_no_nvrtc(self):
        nvrtc = next(library for library in self.expect_json("doctor")["libraries"] if library["name"] == "NVRTC")
        if not nvrtc["found"]:
            self.skipTest(f"no NVRTC: {nvrtc['problem']}")
        self.assertEqual(self.compile_process(64)[1], (True, False, True, True))
        # Another package of the same kernels, whose keys contain NVRTC's version.
        warm, opened = self.compile_process(65)
        self.assertEqual(opened, (False, False, True, False), warm)
        self.assertEqual(self.compile_process(65)[1], (False, True, False, False))  # the package itself

        # Looking elsewhere may find another version: it is opened to ask.
        folder = pathlib.Path(nvrtc["path"]).parent
        elsewhere, opened = self.compile_process(66, {"MOEC_NVRTC_PATH": str(folder)})
        self.assertEqual(opened, (False, False, True, True), elsewhere)
        elsewhere, opened = self.compile_process(67, {"MOEC_NVRTC_PATH": str(folder)})
        self.assertEqual(opened, (False, False, True, False), elsewhere)

    def test_strict_without_a_cache_says_that_it_may_not_compile(self):
        refused = self.process("strict")
        self.assertEqual(refused.returncode, 9, refused.stderr)
        self.assertIn("compiling is forbidden", refused.stderr)


if __name__ == "__main__":
    main()
