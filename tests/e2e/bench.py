"""`moec bench`: the fields that other programs read, and a trace that replays."""

import json
import subprocess

from support import GOLDEN, MoecTest, main


class Bench(MoecTest):
    def drift(self, *arguments):
        return self.expect(0, "bench", GOLDEN / "olmoe", "--weights=random:seed=1", "--seconds=1", "--repeats=2",
                           *arguments)

    def test_a_scenario_has_every_field(self):
        trace = self.folder / "loop.jsonl"
        result = json.loads(self.drift("--drift=sudden", "--pack-budget=40%", "--exhaustive", "--format=json",
                                       f"--trace={trace}").stdout)
        self.assertEqual((result["schema"], result["schema_version"]), ("moec.bench-drift", 2))
        phases = {phase["name"]: phase for phase in result["phases"]}
        for name in ("before", "drifted", "generic", "retabled", "swapped", "prebuilt"):
            self.assertGreater(phases[name]["tokens_per_s"], 0, name)
        for name in ("generations", "tables", "kernels_built", "compile_ms", "predicted_gain", "measured_gain", "monitor_share"):
            self.assertIsInstance(result[name], (int, float), name)
        for name in ("swapped_over_drifted", "swapped_over_retabled", "swapped_over_prebuilt", "drifted_over_generic"):
            self.assertLessEqual(result[f"{name}_low"], result[name], name)
            self.assertGreaterEqual(result[f"{name}_high"], result[name], name)
        self.assertEqual(result["generations"], result["changes"] + 1)
        self.assertGreater(result["exhaustive"]["height_sets"], 1)
        self.assertIn(result["exhaustive"]["best"], phases)

        replay = self.paths.moec.parent / "moec-trace"
        done = subprocess.run([replay, "replay", trace], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_json_lines_are_a_line_a_row(self):
        lines = [json.loads(line) for line in self.drift("--drift=none", "--format=jsonl").stdout.splitlines()]
        self.assertEqual([line["record"] for line in lines], ["phase"] * (len(lines) - 1) + ["summary"])
        rows = self.expect(0, "bench", GOLDEN / "olmoe", "--weights=random:seed=1", "--tokens=1,3", "--repeats=1",
                           "--format=jsonl").stdout.splitlines()
        self.assertEqual([json.loads(row)["tokens"] for row in rows], [1, 3])
        for row in map(json.loads, rows):
            self.assertEqual((row["schema"], row["schema_version"]), ("moec.bench", 1))
            self.assertGreater(row["route_us"], 0)
            self.assertGreater(row["layer_us"], 0)

    def test_steady_routing_changes_nothing(self):
        result = json.loads(self.drift("--drift=none", "--format=json").stdout)
        self.assertEqual((result["generations"], result["swapped"], result["kernels_built"]), (1, False, 0))


if __name__ == "__main__":
    main()
