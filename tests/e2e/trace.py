"""moec-trace: every verb on a trace with something to tell and on one of a real run, what it does with damage, and what it links."""

import json
import re
import subprocess

from support import GOLDEN, MoecTest, main


class Trace(MoecTest):
    def setUp(self):
        super().setUp()
        self.bin = self.paths.moec.parent
        self.trace = self.folder / "loop.jsonl"
        subprocess.run([self.bin / "sample-trace", self.trace], check=True, timeout=60)

    def moec_trace(self, code, *arguments, says=()):
        """Calls moec-trace, and wants this exit code and all of `says` on stderr."""
        done = subprocess.run([self.bin / "moec-trace", *map(str, arguments)], cwd=self.folder, capture_output=True, text=True,
                              timeout=60)
        self.assertEqual(done.returncode, code, f"moec-trace {arguments}\n{done.stdout}{done.stderr}")
        for text in says:
            self.assertIn(str(text), done.stderr)
        return done.stdout

    def as_json(self, schema, *arguments):
        result = json.loads(self.moec_trace(0, *arguments, "--format=json"))
        self.assertEqual((result["schema"], result["schema_version"]), (schema, 1))
        return result

    def lines(self):
        return self.trace.read_text().splitlines(keepends=True)

    def page_of(self, trace):
        """The report, and the data in it."""
        page = self.folder / "report.html"
        self.assertEqual(self.moec_trace(0, "render", trace, "-o", page), "")
        text = page.read_text()
        return text, json.loads(re.search(r"^const data = (.*);$", text, re.MULTILINE)[1])

    def test_summary_tells_what_became_of_each_change(self):
        text = self.moec_trace(0, "summary", self.trace)
        result = self.as_json("moec.trace-summary", "summary", self.trace)
        outcomes = {change["outcome"] for change in result["changes"]}
        self.assertEqual(outcomes, {"kept", "rolled back", "failed"})
        for word in (*outcomes, *result["reasons"], f"{result['steps']} steps"):
            self.assertIn(word, text)
        self.assertIn("refuse: backed-off", result["reasons"])
        for change in result["changes"]:
            self.assertEqual(change["layers"], [3, 5])
            if change["outcome"] == "kept":
                self.assertGreater(change["measured_gain"], 0)
            if change["outcome"] == "rolled back":
                self.assertLess(change["measured_gain"], 0)

    def test_explain_gives_reasons_causes_and_ends(self):
        text = self.moec_trace(0, "explain", self.trace)
        for part in ("(refuse: backed-off)", "(reuse: pays)", "(keep: plan-fits)", "experts newly packed", "Rolled back: ", "Kept: ",
                     "The build failed", "out of <memory>"):
            self.assertIn(part, text)
        decisions = self.as_json("moec.trace-decisions", "explain", self.trace)["decisions"]
        self.assertEqual(text.count("Decision "), len(decisions))
        recorded = [json.loads(line) for line in self.lines() if '"event":"decision"' in line]
        self.assertEqual(decisions, recorded)

    def test_explain_of_one_decision(self):
        text = self.moec_trace(0, "explain", self.trace, "--decision", 3)
        self.assertEqual(re.findall(r"Decision \d+", text), ["Decision 3"])
        decisions = self.as_json("moec.trace-decisions", "explain", self.trace, "--decision=3")["decisions"]
        self.assertEqual([decision["id"] for decision in decisions], [3])
        self.moec_trace(2, "explain", self.trace, "--decision=9999", says=["no decision 9999"])

    def test_replay_comes_out_byte_for_byte(self):
        result = self.as_json("moec.trace-replay", "replay", self.trace)
        self.assertTrue(result["matches"])
        for kind in ("decisions", "predictions", "judgements"):
            self.assertEqual(result[kind], sum(f'"event":"{kind[:-1]}"' in line for line in self.lines()), kind)
            self.assertGreater(result[kind], 0)
        self.assertIn(f"{result['decisions']} decisions", self.moec_trace(0, "replay", self.trace))

    def test_replay_of_a_changed_trace_is_7_and_names_the_line(self):
        lines = self.lines()
        at = next(number for number, line in enumerate(lines) if '"verdict":"reuse"' in line)
        lines[at] = lines[at].replace('"verdict":"reuse"', '"verdict":"keep"', 1)
        self.trace.write_text("".join(lines))
        text = self.moec_trace(7, "replay", self.trace)
        self.assertIn(f"loop.jsonl:{at + 1}: the first line that differs", text)
        result = json.loads(self.moec_trace(7, "replay", self.trace, "--format=json"))
        self.assertFalse(result["matches"])
        self.assertEqual(result["first_difference"], f"{self.trace}:{at + 1}")
        self.assertIn('"verdict":"keep"', result["recorded"])
        self.assertIn('"verdict":"reuse"', result["replayed"])

    def test_replay_under_another_policy_is_7(self):
        whole = self.trace.read_text()
        self.assertIn('"min_gain":0.03', whole)
        self.trace.write_text(whole.replace('"min_gain":0.03', '"min_gain":0.9', 1))
        self.assertIn("the first line that differs", self.moec_trace(7, "replay", self.trace))

    def test_replay_of_a_trace_with_lost_lines_is_2(self):
        lines = self.lines()
        lost = next(number for number, line in enumerate(lines) if '"event":"counts"' in line)
        self.trace.write_text("".join(lines[:lost] + lines[lost + 1:]))
        self.moec_trace(2, "replay", self.trace, says=["cannot be replayed", "lines were lost"])

    def test_what_if_holds_policies_against_the_recorded_one(self):
        arguments = ["what-if", self.trace, "--set", "notice_steps=32", "--sweep", "min_gain=0.01,1"]
        text = self.moec_trace(0, *arguments)
        result = self.as_json("moec.trace-what-if", *arguments)
        runs = {run["policy"]: run for run in result["runs"]}
        self.assertEqual({name: run["kind"] for name, run in runs.items()}, {
            "as recorded": "recorded", "the same, tried": "same", "no change at all": "off", "notice_steps=32 min_gain=0.01": "tried",
            "notice_steps=32 min_gain=1": "tried", "each window's best plan, free": "best"})
        self.assertEqual(runs["notice_steps=32 min_gain=1"]["values"], {"notice_steps": "32", "min_gain": "1"})
        columns = ("changes", "compiles", "kept", "rolled_back", "failed_builds")
        for name, run in runs.items():
            numbers = " +".join(str(run[column]) for column in columns)
            self.assertRegex(text, rf"(?m)^{re.escape(name)} +{numbers} .* {run['of_the_same']:.3f}$")
        outcomes = [change["outcome"] for change in self.as_json("moec.trace-summary", "summary", self.trace)["changes"]]
        recorded = runs["as recorded"]
        self.assertEqual((recorded["kept"], recorded["rolled_back"], recorded["failed_builds"]),
                         tuple(outcomes.count(outcome) for outcome in ("kept", "rolled back", "failed")))
        self.assertIn(f"{recorded['rolled_back']} measured worse and were undone, {recorded['failed_builds']} could not be built", text)
        self.assertEqual(runs["the same, tried"]["of_the_same"], 1)
        self.assertEqual(runs["notice_steps=32 min_gain=1"]["step_ns"], runs["no change at all"]["step_ns"])
        self.assertGreater(runs["notice_steps=32 min_gain=0.01"]["changes"], 0)
        self.assertEqual(min(result["runs"], key=lambda run: run["step_ns"])["kind"], "best")
        self.assertAlmostEqual(result["measured_ns"] / result["predicted_of_measured_ns"], 1, delta=0.05)
        only = self.as_json("moec.trace-what-if", "what-if", self.trace, "--set=mode=off", "--set=min_gain=0.5")["runs"]
        self.assertEqual([run["policy"] for run in only][3:-1], ["mode=off min_gain=0.5"])

    def test_what_if_names_what_makes_no_sense(self):
        for arguments, says in ((["--set=min_gian=1"], "min_gian is none of mode, min_gain"), (["--set=min_gain=2"], "found 2"),
                                (["--set=min_gain"], "expected KEY=VALUE"), (["--sweep=min_gain=0.1,,1"], "min_gain=: expected a number"),
                                (["--set=mode=often"], "often")):
            self.moec_trace(2, "what-if", self.trace, *arguments, says=[says])
        lines = self.lines()
        self.trace.write_text("".join(lines[:2] + lines[3:]))
        self.moec_trace(2, "what-if", self.trace, says=["cannot be run again", "lines were lost"])

    def test_each_verbs_help_is_help_alone(self):
        for verb in ("summary", "explain", "replay", "what-if", "render", "profile"):
            done = subprocess.run([self.bin / "moec-trace", verb, "--help"], capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, ""), verb)
            self.assertIn(f"moec-trace {verb} loop.jsonl", done.stdout)
        self.assertIn("repay_horizon_steps", self.moec_trace(0, "what-if", "--help"))

    def test_every_verb_warns_of_lost_lines(self):
        lines = self.lines()
        self.trace.write_text("".join(lines[:1] + lines[-1:]))
        for verb in ("summary", "explain", "render", "profile"):
            self.moec_trace(2 if verb == "profile" else 0, verb, self.trace, says=["warning", "lines are missing"])
        self.assertEqual(self.moec_trace(0, "explain", self.trace), "What is left of the trace holds no decision.\n")

    def test_report_has_every_section_and_is_self_contained(self):
        text, data = self.page_of(self.trace)
        for section in ("Generations", "Drift and regret", "Share of pairs, expert by expert, over time", "All layers at one moment",
                        "Decisions"):
            self.assertRegex(text, rf"<h2[^>]*>{section}</h2>")
        without_namespace = text.replace("http://www.w3.org/2000/svg", "")
        self.assertNotRegex(without_namespace, r"(?i)https?:|//[\w-]+\.\w|@import|url\(|<link|<iframe|src=|fetch\(|XMLHttpRequest")
        self.assertEqual(text.count("<script"), 1)
        self.assertEqual(text.count("</script"), 1)
        summary = self.as_json("moec.trace-summary", "summary", self.trace)
        self.assertEqual([layer["layer"] for layer in data["layers"]], [3, 5])
        self.assertEqual(len(data["decisions"]), summary["decisions"])
        self.assertEqual(len(data["builds"]), len(summary["changes"]))
        for layer in data["layers"]:
            self.assertTrue(layer["heat"] and layer["drift"])
        self.assertIn("out of <memory>", [build.get("message") for build in data["builds"]])
        self.assertNotIn("out of <memory>", text)  # what a trace says is no markup
        self.assertEqual(self.moec_trace(0, "render", self.trace), text)

    def test_profile_is_the_routing_seen_last(self):
        written = self.folder / "profile.json"
        self.assertEqual(self.moec_trace(0, "profile", self.trace, "-o", written), "")
        self.assertEqual(self.moec_trace(0, "profile", self.trace), written.read_text())
        profile = json.loads(written.read_text())
        self.assertEqual((profile["schema"], [layer["layer"] for layer in profile["layers"]]), ("moec.profile", [3, 5]))
        for layer in profile["layers"]:  # the last routing: 24 hot experts from 0 on
            self.assertGreater(sum(layer["pairs"][:24]), 0.9 * sum(layer["pairs"]))

    def test_every_verb_on_a_real_run(self):
        run = self.folder / "run.jsonl"
        self.expect(0, "bench", GOLDEN / "olmoe", "--drift=sudden", "--pack-budget=40%", "--seconds=0.5", "--repeats=1", "--trace", run)
        summary = self.as_json("moec.trace-summary", "summary", run)
        self.assertGreater(summary["steps"], 0)
        self.assertGreater(summary["decisions"], 0)
        self.assertIn("decisions\n", self.moec_trace(0, "summary", run))
        self.assertIn("Decision 1 ", self.moec_trace(0, "explain", run))
        self.assertTrue(self.as_json("moec.trace-replay", "replay", run)["matches"])
        _, data = self.page_of(run)
        self.assertEqual(len(data["decisions"]), summary["decisions"])
        self.moec_trace(0, "profile", run, "-o", self.folder / "seen.json")
        self.expect(0, "compile", GOLDEN / "olmoe", "--profile", self.folder / "seen.json", "-o", "x")

    def test_a_damaged_trace_is_read_as_far_as_it_goes(self):
        whole = self.trace.read_text()
        self.trace.write_text(whole[:-30])
        self.moec_trace(0, "summary", self.trace, says=["warning", "cut off before its end"])
        text, data = self.page_of(self.trace)
        self.assertTrue(any("cut off before its end" in problem for problem in data["problems"]))

    def test_1_files_that_are_not_there_or_cannot_be_written(self):
        for verb in ("summary", "explain", "replay", "what-if", "render", "profile"):
            self.moec_trace(1, verb, "nowhere.jsonl", says=["moec-trace: ", "nowhere.jsonl", "No such file"])
        self.moec_trace(1, "summary", self.folder, says=[self.folder, "a folder"])
        for verb in ("render", "profile"):
            self.moec_trace(1, verb, self.trace, "-o", "no/folder/x", says=["no/folder/x"])

    def test_2_usage_and_what_is_no_trace(self):
        garbage = self.folder / "garbage.jsonl"
        for content in (b"", b"hello\n", b"\0\xff\xfe" * 100, b"{}\n", b'{"schema":"moec.profile","schema_version":1}\n'):
            garbage.write_bytes(content)
            for verb in ("summary", "explain", "replay", "what-if", "render", "profile"):
                self.moec_trace(2, verb, garbage, says=["moec-trace: ", "garbage.jsonl"])
        for arguments in ((), ("sumary", self.trace), ("summary",), ("summary", self.trace, "--format=xml"),
                          ("explain", self.trace, "--decision=x"), ("explain", self.trace, "--decision=-1")):
            self.assertEqual(self.moec_trace(2, *arguments), "")
        self.moec_trace(2, "sumary", self.trace, says=["unknown verb 'sumary'; did you mean 'summary'?"])
        self.assertRegex(self.moec_trace(0, "--version"), r"^moec-trace \d+\.\d+\.\d+")

    def test_help_says_what_the_exit_codes_are(self):
        self.assertIn("1 a file that cannot be read or written, 2 usage or a file that is no trace, 7 ", self.moec_trace(0, "--help"))

    def test_links_neither_compiler_nor_gpu_and_is_small(self):
        binary = self.bin / "moec-trace"
        self.assertLess(binary.stat().st_size, 20 << 20)
        needed = subprocess.run(["ldd", binary], check=True, capture_output=True, text=True).stdout
        self.assertIn("libc.so", needed)
        self.assertNotRegex(needed, r"(?i)llvm|mlir|lld|cuda|nvrtc|moec-compiler")
        contents = binary.read_bytes()
        for name in (b"N4mlir", b"N4llvm", b"nvrtcCompileProgram", b"cuInit"):  # nor has them linked in
            self.assertNotIn(name, contents)


if __name__ == "__main__":
    main()
