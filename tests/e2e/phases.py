"""Each phase as text: --stop-after and --emit agree, what a phase holds, and that a compile can go on from it."""

import re

from support import GOLDEN, MoecTest, main

PHASES = ["input", "grouped", "sized", "selected", "planned", "launches"]
MIXTRAL, E4M3 = GOLDEN / "mixtral", GOLDEN / "deepseek_v3_fp8"
# What each phase adds; a later one has it too, but the launches are written differently.
ADDS = {"grouped": "moe.grouped_ffn", "sized": "slots = array<i32", "selected": "config = #moe.cpu_config", "planned": "hidden_stride"}


class Phases(MoecTest):
    def text(self, model, phase, *arguments):
        return self.expect(0, "compile", model, f"--emit={phase}", *arguments).stdout

    def test_stop_after_is_emit(self):
        for phase in PHASES:
            emitted = self.text(MIXTRAL, phase)
            self.assertEqual(self.expect(0, "compile", MIXTRAL, "--stop-after", phase).stdout, emitted)
            file = self.folder / "text.mlir"
            self.assertEqual(self.expect(0, "compile", MIXTRAL, "--stop-after", phase, "-o", file).stdout, "")
            self.assertEqual(file.read_text(), emitted)
            self.assertIn(f'moe.phase = "{phase}"', emitted)
            for of, words in ADDS.items():
                if phase != "launches":
                    self.assertEqual(words in emitted, PHASES.index(of) <= PHASES.index(phase), f"{words} after {phase}")
        self.assertIn(" gate_up(", emitted)
        self.assertNotIn("moe.grouped_ffn", emitted)
        self.expect(2, "compile", MIXTRAL, "--stop-after=planned", "--emit=planned")
        self.expect(2, "compile", MIXTRAL, "--stop-after=llvm")

    def test_a_cpus_texts(self):
        registers = {"cpu-avx2": "ymm", "cpu-avx512": "zmm", "cpu-avx512bf16": "zmm"}
        for target, register in registers.items():
            kernels = self.text(MIXTRAL, "kernels", "--target", target)
            self.assertIn("vector.", kernels)
            self.assertEqual("x86vector" in kernels, target == "cpu-avx512bf16", target)
            llvm = self.text(MIXTRAL, "llvm", "--target", target)
            self.assertRegex(llvm, r"(?m)^define .*@")
            assembly = self.text(MIXTRAL, "asm", "--target", target)
            self.assertIn(f"%{register}", assembly)
            self.assertEqual("%zmm" in assembly, register == "zmm", target)
            self.assertEqual("vdpbf16ps" in assembly, target == "cpu-avx512bf16", target)
            # One set of kernels in all three.
            names = set(re.findall(r"llvm\.func @(\w+)", kernels))
            self.assertTrue(names)
            for name in names:
                self.assertIn(f"@{name}(", llvm)
                self.assertIn(f"\n{name}:", assembly)

    def package(self, model, *arguments):
        """What a compile of `model` came to, without the text that it began with and the time that it took."""
        path = self.folder / "package"
        self.expect(0, "compile", model, "-o", path, *arguments)
        manifest = self.expect_json("inspect", path)["manifest"]
        return manifest["layers"], manifest["target"], [image["key"] for image in manifest["images"]]

    def test_a_compile_goes_on_from_each_phase_to_the_same_end(self):
        # Not what the later compile would plan for by itself: what the text says must count.
        planned = ("--tokens=24", "--pack-budget=50%")
        last = {phase: self.text(MIXTRAL, phase, *planned) for phase in PHASES}
        whole = self.package(MIXTRAL, *planned)
        for index, phase in enumerate(PHASES[:-1]):
            file = self.folder / f"{phase}.mlir"
            file.write_text(last[phase])
            given = planned if phase in ("input", "grouped") else ()  # which are not planned yet
            for later in PHASES[index:]:
                self.assertEqual(self.text(file, later, *given), last[later], f"{later} from {phase}")
            for earlier in PHASES[:index]:
                self.expect(3, "compile", file, f"--emit={earlier}", *given, says=[f"in phase {phase} already, past {earlier}"])
            self.assertEqual(self.package(file, *given), whole, phase)

    def test_each_phase_says_what_the_checkpoint_holds_in_e4m3(self):
        for phase in PHASES:
            self.assertEqual(self.text(E4M3, phase).count("{block_e4m3}"), 6, phase)  # three matrices of experts, three shared
        layers, *computed = self.package(E4M3)
        self.assertEqual([layer["shape"]["expert_format"] for layer in layers], ["block_e4m3"])
        self.assertIn("experts stored in e4m3", self.expect(0, "inspect", E4M3).stdout)
        file = self.folder / "plain.mlir"
        self.expect(0, "import", E4M3, "--plain-weights", "-o", file)
        layers, *plain = self.package(file)
        self.assertEqual([layer["shape"]["expert_format"] for layer in layers], ["plain"])
        self.assertEqual(plain, computed)  # a CPU computes the same either way

    def test_a_list_of_launches_is_the_end(self):
        file = self.folder / "launches.mlir"
        file.write_text(self.text(MIXTRAL, "launches"))
        self.expect(3, "compile", file, "-o", "x", says=[file, "in phase launches already"])
        self.expect(3, "inspect", file, says=["in phase launches already"])

    def test_a_planned_text_is_for_its_target(self):
        file = self.folder / "planned.mlir"
        for phase in ("sized", "planned"):
            file.write_text(self.text(MIXTRAL, phase, "--target=cpu-avx2"))
            self.expect(0, "compile", file, "--target=cpu-avx2", "-o", "x")
            self.expect(3, "compile", file, "--target=cpu-avx512", "-o", "x", says=[f"(phase {phase}) for another target than cpu-avx512"])
        planned = file.read_text()
        file.write_text(planned.replace('#moe.cpu_config<isa = "avx2"', '#moe.cpu_config<isa = "avx512"'))
        self.expect(3, "compile", file, "--target=cpu-avx2", "-o", "x", says=["for another target than cpu-avx2"])
        file.write_text(re.sub(r", moe\.target = \{[^}]*\}", "", planned))
        self.expect(3, "compile", file, "--target=cpu-avx2", "-o", "x", says=["for another target than cpu-avx2"])
        file.write_text(re.sub(r"threads = \d+", "threads = -2", planned))
        self.expect(3, "compile", file, "--target=cpu-avx2", "-o", "x", says=["no readable moe.target"])

    def test_a_text_that_was_planned_for_a_gpu(self):
        file = self.folder / "planned.mlir"
        file.write_text(self.text(MIXTRAL, "planned", "--target=h100"))
        self.assertEqual(self.text(file, "launches", "--target=h100"), self.text(MIXTRAL, "launches", "--target=h100"))
        for target in ("cpu-avx2", "sm_80"):
            self.expect(3, "compile", file, "--target", target, "--emit=launches", says=[f"for another target than {target}"])

    def test_a_session_plans_for_itself(self):
        file = self.folder / "planned.mlir"
        file.write_text(self.text(MIXTRAL, "planned"))
        self.expect(3, "run", file, "--weights=random:seed=1", "--input", MIXTRAL / "input.safetensors", "--output", "y",
                    "--layer=0", says=["planned already (phase planned)", "input or grouped"])

    def test_a_phase_that_there_is_not(self):
        file = self.folder / "model.mlir"
        file.write_text(self.text(MIXTRAL, "input").replace('moe.phase = "input"', 'moe.phase = "baked"'))
        self.expect(3, "compile", file, "-o", "x", says=[file, 'unknown phase "baked"'])


if __name__ == "__main__":
    main()
