"""moec place: experts on devices, by a trace of a loop and by a profile."""

import json
import subprocess

from support import GOLDEN, MoecTest, main

PROFILE = {"schema": "moec.profile", "schema_version": 1, "default_tokens": 64,
           "layers": [{"layer": 0, "tokens": 64, "pairs": [60, 40, 4, 4, 4, 4, 6, 6]}]}


class Place(MoecTest):
    def setUp(self):
        super().setUp()
        self.profile = self.folder / "routing.json"
        self.profile.write_text(json.dumps(PROFILE))

    def placed(self, *arguments):
        """(The report, the placement that was written.)"""
        written = self.folder / "placement.json"
        report = json.loads(self.expect(0, "place", *arguments, "-o", written, "--format=json").stdout)
        self.assertEqual((report["schema"], report["schema_version"]), ("moec.place", 1))
        placement = json.loads(written.read_text())
        self.assertEqual((placement["schema"], placement["devices"]), ("moec.placement", report["devices"]))
        return report, placement

    def slowest(self, report):
        return {row["kind"]: row["slowest"] for row in report["placements"]}

    def test_a_trace_is_judged_on_its_second_half(self):
        trace = self.folder / "loop.jsonl"
        subprocess.run([self.paths.moec.parent / "sample-trace", trace], check=True, timeout=60)
        report, placement = self.placed("--trace", trace, "--devices", 2)
        self.assertTrue(report["held_back"])
        self.assertEqual(report["unit"], "ns")
        self.assertEqual(len(placement["layers"]), report["layers"])
        for layer in placement["layers"]:
            self.assertEqual(sorted(sum(layer["devices"], [])), list(range(layer["experts"])))
        slowest = self.slowest(report)
        self.assertLess(slowest["place"], slowest["number"])
        again, same = self.placed("--trace", trace, "--devices", 2)
        self.assertEqual((again, same), (report, placement))

    def test_a_profile_alone_counts_pairs(self):
        report, placement = self.placed("--profile", self.profile, "--devices", 2)
        self.assertEqual((report["unit"], report["held_back"]), ("pairs", False))
        slowest = self.slowest(report)
        self.assertEqual(slowest["number"], 108)
        self.assertEqual(slowest["place"], 72)  # 60 and three of 4 beside 40, 6, 6 and 4
        self.assertEqual(len(placement["layers"]), 1)
        text = self.expect(0, "place", "--profile", self.profile, "--devices", 2).stdout
        for part in ("1 layer of 8 experts on 2 devices; costs are pairs", "nothing was held back", "moec place", "108.0"):
            self.assertIn(part, text)

    def test_a_short_trace_holds_nothing_back(self):
        trace = self.folder / "loop.jsonl"
        subprocess.run([self.paths.moec.parent / "sample-trace", trace], check=True, timeout=60)
        lines = trace.read_text().splitlines(keepends=True)
        counts = [line for line in lines if '"event":"counts"' in line]
        trace.write_text("".join([lines[0], *counts[:3]]))
        report, placement = self.placed("--trace", trace, "--devices", 2)
        self.assertFalse(report["held_back"])
        trace.write_text(lines[0])
        self.assertIn("no counts", self.expect(2, "place", "--trace", trace, "--devices", 2).stderr)

    def test_the_method_says_whose_placement_is_written(self):
        written = {method: self.placed("--profile", self.profile, "--devices", 2, "--method", method)[1]["layers"][0]["devices"]
                   for method in ("number", "greedy", "even", "place")}
        self.assertEqual(written["number"], [[0, 1, 2, 3], [4, 5, 6, 7]])
        self.assertTrue(all(0 in devices[0] and 1 in devices[1] for name, devices in written.items() if name != "number"), written)

    def test_devices_that_do_not_divide_the_experts_get_no_copies_unasked(self):
        report, placement = self.placed("--profile", self.profile, "--devices", 3)
        self.assertEqual({row["copies"] for row in report["placements"]}, {0})
        self.assertLessEqual(max(map(len, placement["layers"][0]["devices"])), 3)

    def test_slots_to_spare_hold_copies(self):
        report, placement = self.placed("--profile", self.profile, "--devices", 4, "--slots", 3)
        slowest = self.slowest(report)
        self.assertLess(slowest["place"], 60)  # what the busiest expert alone has
        held = sum(placement["layers"][0]["devices"], [])
        self.assertGreater(held.count(0), 1)
        self.assertEqual(len(held) - 8, next(row["copies"] for row in report["placements"] if row["kind"] == "place"))

    def test_a_model_gives_times(self):
        self.profile.write_text(json.dumps({**PROFILE, "layers": [
            {"layer": 0, "tokens": 64, "pairs": [60, 40, 4, 4, 4, 4, 6, 6] + [0] * 8}]}))
        arguments = [*self.model_of_16(), "--profile", self.profile, "--target=h200", "--devices", 4]
        report, _ = self.placed(*arguments)
        self.assertEqual((report["unit"], report["target"]), ("ns", "h200"))
        free = self.slowest(report)["number"]
        linked = self.slowest(self.placed(*arguments, "--link", 1)[0])["number"]
        self.assertGreater(linked, free)

    def model_of_16(self):
        """A model with 16 experts in layer 0, made of a golden one's config."""
        config = json.loads((GOLDEN / "mixtral" / "config.json").read_text()) | {"num_local_experts": 16}
        (self.folder / "config.json").write_text(json.dumps(config))
        return [self.folder / "config.json"]

    def test_what_is_wrong_is_said(self):
        profile = ["--profile", self.profile]
        for arguments, says in (([], "one of --trace and --profile"),
                                ([*profile, "--trace", "x"], "one of --trace and --profile"),
                                ([*profile, "--slots", "1"], "do not hold the 8 experts"),
                                ([*profile, "--slots", "9"], "layer 0 has 8 experts"),
                                ([*profile, "--link", "400"], "name a model"),
                                (["model", "--trace", "x"], "--trace takes no model"),
                                ([*profile, "--target", "h200"], "--target has no effect"),
                                (["--trace", "x", "--calibration", "y"], "--calibration has no effect"),
                                ([*profile, "--no-cache"], "--no-cache has no effect"),
                                ([*profile, "--method", "even"], "no effect without -o"),
                                ([*profile, "-o", "-", "--format=json"], "both write to stdout"),
                                ([*profile, "--link", "nan"], "no number"),
                                ([*self.model_of_16(), *profile], "lists the pairs of 8 experts")):
            self.assertIn(says, self.expect(2, "place", *arguments, "--devices=2").stderr)
        self.assertIn("9 devices", self.expect(2, "place", *profile, "--devices=9").stderr)
        self.assertIn("nowhere", self.expect(1, "place", "--profile=nowhere", "--devices=2").stderr)
        self.expect(2, "place", *profile, "--devices=0")
        self.profile.write_text("{}")
        self.expect(2, "place", *profile, "--devices=2")

    def test_inspect_tells_of_a_placement(self):
        self.placed("--profile", self.profile, "--devices", 2)
        text = self.expect(0, "inspect", "placement.json").stdout
        self.assertIn("placement of 1 layer on 2 devices", text)
        shown = json.loads(self.expect(0, "inspect", "placement.json", "--format=json").stdout)
        self.assertEqual((shown["kind"], shown["devices"]), ("placement", 2))

    def test_stdout_can_take_the_placement(self):
        text = self.expect(0, "place", "--profile", self.profile, "--devices", 2, "-o", "-").stdout
        self.assertEqual(json.loads(text)["schema"], "moec.placement")


if __name__ == "__main__":
    main()
