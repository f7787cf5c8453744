"""What a profiler is told through NVTX: steps, their phases, and what is built beside them."""

import os
import subprocess

from support import GOLDEN, MoecTest, main


class Profile(MoecTest):
    def ranges(self, injection):
        program = self.paths.moec.parent / "warm-cache"
        variables = {"NVTX_INJECTION64_PATH": str(injection)} if injection else {}
        done = subprocess.run([program, GOLDEN / "olmoe", self.cache, self.paths.compiler, "auto"], capture_output=True, text=True,
                              timeout=240, env=os.environ | variables)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [line.split()[1:] for line in done.stderr.splitlines() if line.startswith("nvtx ")]

    def test_ranges_nest_and_end(self):
        seen = self.ranges(self.paths.moec.parent.parent / "tests" / "libe2e-profiler.so")
        self.assertEqual(seen[0], ["domain", "moec"])
        within, paths, spans = [], set(), []
        for what, *rest in seen[1:]:
            if what == "push":
                within.append(rest[0])
                paths.add("/".join(within))
            elif what == "pop":
                within.pop()
            elif what == "start":
                spans.append(rest)
            else:
                self.assertEqual((what, *rest), ("end", "7"))
                spans.append("end")
        self.assertEqual(within, [])
        self.assertEqual(spans, [["step", "16"], "end"])  # of 16 tokens
        for path in ("layer", "layer/router", "layer/route", "layer/dispatch", "layer/gate-up", "layer/down", "layer/store",
                     "build", "build/compile", "build/load", "build/rebuild", "build/rebuild/validate", "swap"):
            self.assertIn(path, paths)

    def test_without_a_profiler_nothing_is_told(self):
        self.assertEqual(self.ranges(None), [])


if __name__ == "__main__":
    main()
