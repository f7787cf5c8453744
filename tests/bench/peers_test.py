"""tools/bench/peers.py without torch and without a GPU: who is missing, who is wrong, and that nobody ends the run."""

import contextlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "tools" / "bench"
sys.path.insert(0, str(BENCH))
import peers  # noqa: E402
import rivals  # noqa: E402
from rivals import contest, crew, table  # noqa: E402
from rivals.protocol import Problem, Rival, Variant  # noqa: E402

NAMES = ["torch", "transformers", "triton", "vllm", "flashinfer", "deepgemm", "tutel", "sonicmoe", "triton_kernels"]
E4M3_NAMES = ["triton", "vllm", "flashinfer", "deepgemm"]
SMALL = Problem(tokens=16, rows=2.0)


def variant(label, error=1e-3, us=10.0, timing="graph", **options):
    """A variant whose "result" says how FakeBench shall find it."""
    return Variant(label, lambda: (error, us, timing), **options)


class FakeBench:
    def __init__(self, lost=False):
        self.timed, self.recovered, self.lost = [], 0, lost

    def error_of(self, variant):
        return variant.run()[0]

    def time(self, variant):
        self.timed.append(variant.label)
        return variant.run()[1:]

    def recover(self):
        self.recovered += 1
        if self.lost:
            raise contest.DeviceLost("an illegal memory access")


def broken():
    raise RuntimeError("no kernel for this shape\nand a long trace")


class Contest(unittest.TestCase):
    def test_the_fastest_right_variant_counts(self):
        entry, wrong, reasons = contest.contest([variant("slow", us=12.0), variant("fast", us=8.0)], SMALL, FakeBench())
        self.assertEqual((entry.variant, entry.us, entry.timing, wrong, reasons), ("fast", 8.0, "graph", None, []))

    def test_a_wrong_variant_is_said_and_not_timed(self):
        bench = FakeBench()
        entry, wrong, reasons = contest.contest([variant("wrong", error=0.5, us=1.0), variant("right")], SMALL, bench)
        self.assertEqual((entry.variant, wrong), ("right", None))
        self.assertEqual(bench.timed, ["right"])
        self.assertEqual(reasons, ["wrong: wrong, relative error 5.0e-01; not timed"])

    def test_a_rival_all_of_whose_variants_are_wrong_has_its_least_error(self):
        entry, wrong, reasons = contest.contest([variant("a", error=float("nan")), variant("b", error=0.5)], SMALL, FakeBench())
        self.assertEqual((entry, wrong), (None, 0.5))
        self.assertEqual(reasons[0], "a: wrong, relative error nan; not timed")

    def test_what_bf16_explains_is_right_and_twice_that_is_not(self):
        # The largest of rivals' errors that was ever measured is 6.5e-3; torch's way to round, 15 times, gives the same.
        self.assertIsNotNone(contest.contest([variant("", error=6.6e-3)], SMALL, FakeBench())[0])
        self.assertIsNone(contest.contest([variant("", error=1.3e-2)], SMALL, FakeBench())[0])

    def test_what_quantising_explains_is_right_beside_e4m3_weights_and_two_exchanged_scales_are_not(self):
        # The worst of 4096 tokens by moec's rules has 5.6e-2, in torch on Qwen3's sizes; two of Mixtral's scales exchanged give 7.2e-2.
        self.assertIsNotNone(contest.contest([variant("", error=5.6e-2)], SMALL, FakeBench(), "e4m3")[0])
        self.assertIsNone(contest.contest([variant("", error=7.2e-2)], SMALL, FakeBench(), "e4m3")[0])
        self.assertIsNone(contest.contest([variant("", error=5.6e-2)], SMALL, FakeBench())[0])

    def test_an_exception_ends_its_variant_only(self):
        bench = FakeBench()
        entry, _, reasons = contest.contest([Variant("bad", broken), variant("good")], SMALL, bench)
        self.assertEqual((entry.variant, bench.recovered), ("good", 1))
        self.assertEqual(reasons, ["bad: RuntimeError: no kernel for this shape"])

    def test_a_rival_without_a_variant_of_this_size_says_so(self):
        outcome = contest.contest([variant("", takes=lambda problem: problem.tokens > 16)], SMALL, FakeBench())
        self.assertEqual(outcome, (None, None, ["no variant takes this size"]))

    def test_a_lost_context_is_not_taken_for_a_rivals_failure(self):
        with self.assertRaises(contest.DeviceLost):
            contest.contest([Variant("bad", broken), variant("good")], SMALL, FakeBench(lost=True))

    def test_a_rival_that_cannot_be_built_is_a_line(self):
        class Broken(Rival):
            def build(self, layer):
                raise ValueError("weights of another shape")

        self.assertEqual(contest.build(Broken(), None, FakeBench()), ([], "not built: ValueError: weights of another shape"))


class Table(unittest.TestCase):
    def row(self, after=10.0, **rivals_us):
        entries = {name: {"us": us, "variant": "", "timing": "graph", "error": 3.1e-3} for name, us in rivals_us.items()}
        return {"shape": "olmoe", "weights": "bf16", "tokens": 16, "skew": 0.0, "moec_us": max(10.0, after), "moec_before_us": 10.0,
                "moec_after_us": after, "moec_error": 2.9e-3, "floor_us": 8.0, "kernels": "portable-16x128", "rivals": entries,
                "bounds": {}, "wrong": {}, "failed": {}}

    def test_the_best_rival_is_compared_and_a_bound_is_not(self):
        row = self.row(torch=30.0, triton=20.0)
        row["bounds"]["triton, no sort"] = {"us": 5.0, "variant": "", "timing": "graph", "error": 0.0}
        self.assertEqual(table.ahead(row), 2.0)
        self.assertRegex(table.line(row, ["torch", "triton", "vllm"]), r" 80% +30\.0 +3\.1 +20\.0 +3\.1 +- +2\.00x  portable-16x128$")

    def test_a_line_ends_with_the_variant_of_each_rivals_time(self):
        row = self.row(torch=30.0, deepgemm=20.0, triton=25.0)
        row["rivals"]["deepgemm"]["variant"], row["rivals"]["triton"]["variant"] = "masked", "16x64"
        row["bounds"]["triton, no sort"] = {"us": 5.0, "variant": "16x64", "timing": "graph", "error": 0.0}
        line = table.line(row, ["torch", "triton", "deepgemm", "triton, no sort", "vllm"])
        self.assertTrue(line.endswith("  portable-16x128; triton 16x64, deepgemm masked"), line)

    def test_heading_and_line_have_the_same_columns(self):
        names = ["torch", "triton, no sort", "vllm"]
        row = self.row(torch=30.0)
        row["wrong"]["vllm"] = 0.512
        heading, line = table.heading(names), table.line(row, names)
        self.assertEqual(heading.index("  kernels"), line.index("  portable"))
        for name, text in (("torch", "30.0"), ("vllm", "wrong")):
            self.assertEqual(heading.index(name) + len(name), line.index(text) + len(text), name)

    def test_a_rival_with_wrong_results_is_marked(self):
        row = self.row(torch=30.0)
        row["wrong"]["vllm"] = 0.512
        self.assertIn(" wrong 512.0 ", table.line(row, ["vllm"]))

    def test_moecs_two_times_are_shown_and_the_slower_one_counts(self):
        self.assertRegex(table.line(self.row(after=10.4, torch=20.8), ["torch"]), r" 10\.0 +10\.4 +2\.9 +77% +20\.8 .* 2\.00x ")
        self.assertFalse(table.moved(self.row(after=10.4)))

    def test_times_more_than_5_percent_apart_are_flagged(self):
        for after in (10.6, 9.5):
            self.assertIn(f" {after}! ", table.line(self.row(after=after), []))
            self.assertTrue(table.notes([self.row(after=after)], {})[-1].startswith("!: moec's times"))
        self.assertEqual(table.notes([self.row()], {}), [])

    def test_moec_with_wrong_results_is_ahead_of_nobody(self):
        row = self.row(torch=20.0)
        row["moec_error"] = float("nan")
        self.assertEqual(table.notes([row], {}), ["moec: wrong, relative error nan; not counted (olmoe T=16)"])
        self.assertEqual(table.summary([row]), "no rival ran")

    def test_errors_beside_e4m3_weights_are_explained_and_what_is_beyond_is_wrong(self):
        row = self.row(triton=20.0)
        row |= {"weights": "e4m3", "moec_error": 5e-2}
        (line,) = table.notes([row], {})
        self.assertTrue(line.startswith("err: thousandths, against float32 of the dequantised weights"), line)
        self.assertTrue(line.endswith("more than 70 is wrong"), line)
        self.assertEqual(table.ahead(row), 2.0)
        row["moec_error"] = 9e-2
        self.assertEqual(table.notes([row], {})[0], "moec: wrong, relative error 9.0e-02; not counted (olmoe T=16)")
        self.assertEqual(table.summary([row]), "no rival ran")

    def test_what_was_timed_on_a_stream_has_a_star(self):
        row = self.row(tutel=40.0)
        row["rivals"]["tutel"]["timing"] = "stream"
        self.assertIn("40.0*", table.line(row, ["tutel"]))
        self.assertTrue(table.notes([row], {})[-1].startswith("*: on a stream"))

    def test_a_failure_is_one_line_with_its_cells(self):
        rows = [self.row(torch=30.0) for _ in range(5)]
        for tokens, row in enumerate(rows):
            row["tokens"], row["failed"] = tokens, {"vllm": ["wrong, relative error 1.0e+00; not timed"]}
        self.assertEqual(table.notes(rows, {"tutel": "missing: no module tutel"}),
                         ["tutel: missing: no module tutel",
                          "vllm: wrong, relative error 1.0e+00; not timed (olmoe T=0, olmoe T=1, olmoe T=2 and 2 more)"])

    def test_the_summary_counts_the_cells_with_rivals(self):
        # 2x and 0.5x: a mean of 1, one behind; the cell without rivals does not count.
        text = table.summary([self.row(torch=20.0), self.row(torch=5.0), self.row()])
        self.assertEqual(text, "moec against the best rival: geometric mean 1.00x over 2 cells, 1 behind, worst 0.50x")
        self.assertEqual(table.summary([self.row()]), "no rival ran")


class Present(unittest.TestCase):
    """In a process of its own, in which no package of a rival can be found but those that the test writes."""

    def list(self, packages=(), *arguments):
        with tempfile.TemporaryDirectory() as folder:
            for path, text in dict(packages).items():
                file = pathlib.Path(folder) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                for parent in list(file.relative_to(folder).parents)[:-1]:
                    (pathlib.Path(folder) / parent / "__init__.py").touch()
                file.write_text(text)
            done = subprocess.run([sys.executable, "-I", "-S", "-c",
                                   f"import sys; sys.path[:0] = [{str(BENCH)!r}, {folder!r}]\n"
                                   f"import peers; sys.argv[1:] = {['--list', *arguments]!r}; peers.main()"],
                                  capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return dict(line.split(": ", 1) for line in done.stdout.splitlines())

    def test_every_missing_rival_is_a_line(self):
        lines = self.list()
        self.assertEqual(sorted(lines), sorted(NAMES))
        for name, line in lines.items():
            self.assertTrue(line.startswith("missing: no"), f"{name}: {line}")

    def test_with_e4m3_weights_those_that_have_such_layers_are_listed(self):
        lines = self.list((), "--e4m3")
        self.assertEqual(sorted(lines), sorted(E4M3_NAMES))
        for name, line in lines.items():
            self.assertTrue(line.startswith("missing: no"), f"{name}: {line}")

    def test_a_vllm_without_block_scales_is_said_to_be_unknown(self):
        module = "vllm/model_executor/layers/fused_moe/__init__.py"
        signature = "def fused_experts(hidden_states, w1, w2, topk_weights, topk_ids{}): pass"
        listed = lambda more, files=(): self.list({module: signature.format(more), "vllm/__init__.py": "__version__ = '9.1'",
                                                   **dict(files)}, "--e4m3", "--rivals", "vllm")["vllm"]
        self.assertIn("takes neither quant_config nor use_fp8_w8a8", listed(""))
        self.assertTrue(listed(", use_fp8_w8a8, w1_scale, w2_scale, block_shape").startswith("9.1 (the adapter knows"))
        self.assertIn("interface is not known: no vllm.model_executor.layers.fused_moe.config", listed(", quant_config"))
        config = {module.replace("__init__", "config"): "def fp8_w8a8_moe_quant_config(w1_scale, w2_scale, block_shape): pass"}
        self.assertTrue(listed(", quant_config", config).startswith("9.1 (the adapter knows"))

    def test_only_the_wanted_ones_are_listed(self):
        self.assertEqual(sorted(self.list((), "--rivals", "tutel,vllm")), ["tutel", "vllm"])

    def test_another_interface_is_said_to_be_unknown(self):
        module = "vllm/model_executor/layers/fused_moe/__init__.py"
        self.assertEqual(self.list({module: ""})["vllm"],
                         "present, but its interface is not known: no vllm.model_executor.layers.fused_moe.fused_experts")
        self.assertEqual(self.list({module: "def fused_experts(hidden_states, w1, w2, routing): pass"})["vllm"],
                         "present, but its interface is not known: vllm.model_executor.layers.fused_moe.fused_experts takes no "
                         "topk_weights, topk_ids")
        self.assertEqual(self.list({"vllm/moe.py": ""})["vllm"],
                         "present, but its interface is not known: no vllm.model_executor")
        self.assertTrue(self.list({"triton_kernels/rotary_embedding.py": ""})["triton_kernels"].startswith(
            "present, but its interface is not known: triton_kernels has none of"))

    def test_a_broken_install_is_a_line(self):
        self.assertEqual(self.list({"tutel/moe.py": "raise OSError('libnccl.so.2: cannot open')"})["tutel"],
                         "present, but it does not import: OSError: libnccl.so.2: cannot open")
        self.assertEqual(self.list({"tutel/moe.py": "import tutel_custom_kernel"})["tutel"],
                         "present, but it does not import: ModuleNotFoundError: No module named 'tutel_custom_kernel'")

    def test_a_known_interface_is_listed_with_its_version(self):
        text = "__version__ = '9.1'\ndef fused_experts(hidden_states, w1, w2, topk_weights, topk_ids): pass"
        lines = self.list({"vllm/model_executor/layers/fused_moe/__init__.py": text, "vllm/__init__.py": "__version__ = '9.1'"})
        self.assertTrue(lines["vllm"].startswith("9.1 (the adapter knows"), lines["vllm"])


# Stands for a worker: does one step a rival; "crash" dies, "hang" says nothing more, "lose" loses the GPU, "early" dies before.
WORKER = """
import json, os, sys, time
job = json.load(sys.stdin)
say = lambda **event: print(json.dumps(event), flush=True)
if "early" in job["rivals"]: sys.exit(7)
for name in job["rivals"]:
    if name in job["done"]: continue
    say(begin=name)
    if name == "crash": os.kill(os.getpid(), 11)
    if name == "hang": time.sleep(60)
    if name == "lose": say(lost="an illegal memory access"); os._exit(3)
    say(rival=name)
"""


class Crew(unittest.TestCase):
    def work(self, *names, patience=60):
        done = []

        def take(event):
            done.append(event["rival"])
            return {"done": done}

        return done, crew.work([sys.executable, "-c", WORKER], {"done": []}, names, take, patience)

    def test_everybody_works_in_one_process_when_nothing_happens(self):
        self.assertEqual(self.work("torch", "triton"), (["torch", "triton"], {}))

    def test_a_crash_strikes_off_its_rival_and_the_others_go_on(self):
        self.assertEqual(self.work("torch", "crash", "triton"),
                         (["torch", "triton"], {"crash": "its process died of SIGSEGV; struck off"}))

    def test_a_lost_context_strikes_off_its_rival(self):
        self.assertEqual(self.work("lose", "triton"), (["triton"], {
            "lose": "its process lost the GPU's context: an illegal memory access; struck off"}))

    def test_a_rival_that_hangs_is_struck_off(self):
        self.assertEqual(self.work("hang", "triton", patience=10),
                         (["triton"], {"hang": "its process said nothing for 10 s; struck off"}))

    def test_a_worker_that_dies_by_itself_is_nobodys_fault(self):
        with self.assertRaisesRegex(RuntimeError, "ended with 7 while no rival was at work"):
            self.work("early")


# Stands for moec-bench-gpu: two problems of a shape, of which the first has two kernels.
MOEC = """#!{python}
import json, pathlib, sys
if sys.argv[1:] == ["--version"]:
    print("moec-bench-gpu 0.1.0+0123456789ab.cafe")
    sys.exit()
value = lambda name: sys.argv[sys.argv.index(name) + 1]
assert sys.argv[1] == "measure-fp8" and "--alone" in sys.argv or sys.argv[1] == "measure", sys.argv
scale = 2 if sys.argv[1] == "measure" else 1  # e4m3 takes half the time
rows = [dict(tokens=1, skew=0, us=15.0 * scale, floor_us=10.0 * scale, kernels="slow"),
        dict(tokens=1, skew=0, us=12.5 * scale, floor_us=10.0 * scale, kernels="fast"),
        dict(tokens=16, skew=0, us=25.0 * scale, floor_us=20.0 * scale, kernels="fast")]
if "--inputs" in sys.argv:
    for tokens in (1, 16):
        (pathlib.Path(value("--inputs")) / f"{{value('--shapes')}}-{{tokens}}-0.0.i32").write_bytes(b"")
else:  # once more, the best ones alone: slower by now
    assert value("--kernels") == "=fast" and "--every-choice" in sys.argv
    rows = [dict(row, us=row["us"] + 3) for row in rows if row["kernels"] == "fast"]
pathlib.Path(value("--json")).write_text("\\n".join(map(json.dumps, rows)))
"""

# Stands for the worker of peers.py: vllm is missing, triton is wrong at T = 16, tutel crashes there.
GPU = """
import json, os, sys
job = json.load(sys.stdin)
say = lambda **event: print(json.dumps(event), flush=True)
if job["do"] == "look":
    say(torch="2.11", device="a GPU")
    for name in job["rivals"]:
        say(begin=name)
        say(rival=name, missing="missing: no module vllm" if name == "vllm" else None, version="1.0")
else:
    error = dict(bf16=2e-3, e4m3=45e-3)[job["weights"]]
    for cell in job["cells"]:
        say(begin=None)
        assert cell["path"].endswith(f"olmoe-{cell['tokens']}-0.0") and job["rest_ms"] == 50
        say(key=cell["key"], moec_error=error)
        for name in job["rivals"]:
            if name in cell["done"]: continue
            say(begin=name)
            if name == "tutel" and cell["tokens"] == 16: os.kill(os.getpid(), 11)
            wrong = name == "triton" and cell["tokens"] == 16
            entry = dict(us=100.0, variant="", timing="stream" if name == "tutel" else "graph", error=1e-3)
            say(rival=name, key=cell["key"], entry=None if wrong else entry, failed=["wrong, relative error 1.0"] if wrong else [],
                wrong=1.0 if wrong else None)
        say(key=cell["key"], done=True)
"""


class Run(unittest.TestCase):
    def run_peers(self, rivals, *arguments, version="1.2-dirty\n"):
        """(Lines of stdout, lines of stderr, the document)"""
        with tempfile.TemporaryDirectory() as folder:
            moec, document = pathlib.Path(folder) / "bin" / "moec", pathlib.Path(folder) / "peers.json"
            moec.parent.mkdir()
            if version is not None:
                (pathlib.Path(folder) / "VERSION").write_text(version)
            moec.write_text(MOEC.format(python=sys.executable))
            moec.chmod(0o700)
            before, worker = sys.argv, peers.WORKER
            self.addCleanup(setattr, sys, "argv", before)
            self.addCleanup(setattr, peers, "WORKER", worker)
            sys.argv = ["peers.py", "--moec", str(moec), "--bundle", folder, "--shapes", "olmoe", "--skews", "0",
                        "--rivals", rivals, "--json", str(document), *arguments]
            peers.WORKER = [sys.executable, "-c", GPU]
            said, progress = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(progress):
                peers.main()
            return said.getvalue().splitlines(), progress.getvalue().splitlines(), json.loads(document.read_text())

    def test_layers_of_e4m3_weights_are_compared_in_the_same_way(self):
        lines, _, written = self.run_peers("triton,vllm", "--e4m3")
        self.assertEqual(lines[:2], ["a GPU; microseconds of a layer, e4m3 weights", "rivals: triton 1.0"])
        # 12.5 us before the rivals and 15.5 after: 100 us are 6.45 times as long.
        self.assertEqual(lines[4].split(), "olmoe 1 0.0 10.0 12.5 15.5! 45.0 65% 100.0 1.0 100.0 1.0 6.45x fast".split())
        self.assertEqual(lines[6], "vllm: missing: no module vllm")
        self.assertTrue(any(line.startswith("err: thousandths, against float32 of the dequantised") for line in lines))
        self.assertEqual((written["weights"], written["rows"][0]["weights"]), ("e4m3", "e4m3"))
        self.assertEqual((list(written["rows"][0]["rivals"]), list(written["rows"][0]["bounds"])), (["triton"], ["triton, no sort"]))

    def test_without_a_bundles_version_the_programs_own_build_id_counts(self):
        for version in (None, "\n"):
            self.assertEqual(self.run_peers("vllm", version=version)[2]["commit"], "0123456789ab.cafe")

    def test_a_run_ends_with_a_table_and_a_line_for_whoever_is_not_in_it(self):
        lines, progress, written = self.run_peers("triton,vllm,tutel")
        self.assertEqual(lines[:2], ["a GPU; microseconds of a layer, bf16", "rivals: triton 1.0, tutel 1.0"])
        self.assertRegex(lines.pop(2), r"^date 20\d\d-\d\d-\d\d \d\d:\d\d UTC, commit 1.2-dirty, driver ")
        self.assertRegex(lines[2], r" triton +err +tutel +err +triton, no sort +err +ahead  kernels; rivals' variants$")
        # 25 us before the rivals and 28 after: flagged, and 100 us are 3.57 times as long.
        self.assertEqual(lines[3].split(), "olmoe 1 0.0 20.0 25.0 28.0! 2.0 71% 100.0 1.0 100.0* 1.0 100.0 1.0 3.57x fast".split())
        self.assertEqual(lines[4].split(), "olmoe 16 0.0 40.0 50.0 53.0! 2.0 75% wrong 1000.0 - 100.0 1.0 nanx fast".split())
        self.assertEqual(progress[0].split()[:6], "olmoe 1 0.0 20.0 25.0 -".split())
        self.assertEqual(lines[5:], ["vllm: missing: no module vllm", "tutel: its process died of SIGSEGV; struck off",
                                     "triton: wrong, relative error 1.0 (olmoe T=16)",
                                     "!: moec's times before and after the rivals are more than 5% apart; the slower one counts, "
                                     "and turns.py tells who is quicker",
                                     "*: on a stream, launches and waits included; no CUDA graph could hold it",
                                     "moec against the best rival: geometric mean 3.57x over 1 cells, 0 behind, worst 3.57x"])
        self.assertEqual((written["schema"], written["schema_version"]), ("moec.peers", 4))
        self.assertEqual(written["commit"], "1.2-dirty")
        self.assertEqual(sorted(written["rows"][0]["rivals"]), ["triton", "tutel"])
        self.assertEqual(sorted(written["missing"]), ["tutel", "vllm"])


class Arguments(unittest.TestCase):
    def test_an_unknown_rival_is_an_error_that_names_the_known_ones(self):
        arguments, sys.argv = sys.argv, ["peers.py", "--list", "--rivals", "vlm"]
        self.addCleanup(setattr, sys, "argv", arguments)
        said = io.StringIO()
        with contextlib.redirect_stderr(said), self.assertRaises(SystemExit):
            peers.main()
        self.assertIn("no rival vlm; there are torch, transformers", said.getvalue())

    def test_rivals_have_names_of_their_own(self):
        for weights, names in (("bf16", NAMES), ("e4m3", E4M3_NAMES)):
            some, bounds = rivals.of(weights)
            self.assertEqual([rival.name for rival in some], names)
            for rival in some + bounds:
                self.assertTrue(rival.known, rival.name)
            for bound in bounds:
                self.assertIn(bound.name.split(",")[0], names)


if __name__ == "__main__":
    unittest.main()
