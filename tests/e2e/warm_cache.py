"""A recompile that the cache answers never loads the compiler: neither mapped nor needed."""

import json
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

    def test_strict_without_a_cache_says_that_it_may_not_compile(self):
        refused = self.process("strict")
        self.assertEqual(refused.returncode, 9, refused.stderr)
        self.assertIn("compiling is forbidden", refused.stderr)


if __name__ == "__main__":
    main()
