"""`moec doctor`: what it says of a whole installation, and of one that lacks a part. It ends with 0 whatever is missing."""

import json
import re

from support import MoecTest, main

LIBRARIES = ["compiler", "NVIDIA driver", "NVRTC", "NCCL"]


class Doctor(MoecTest):
    def doctor(self, **options):
        """Its JSON and its text; `--json` is `--format=json`."""
        report = self.expect_json("doctor", **options)
        self.assertEqual(json.loads(self.expect(0, "doctor", "--json", **options).stdout), report)
        return report, self.expect(0, "doctor", **options).stdout

    def library(self, report, name):
        self.assertEqual([library["name"] for library in report["libraries"]], LIBRARIES)
        return next(library for library in report["libraries"] if library["name"] == name)

    def test_it_tells_of_this_machine(self):
        report, text = self.doctor()
        self.assertEqual(report["schema"], "moec.doctor")
        self.assertIn(report["version"], self.expect(0, "--version").stdout)
        cpu = report["cpu"]
        self.assertTrue(cpu["usable"])
        self.assertIn(cpu["isa"], ("avx2", "avx512", "avx512bf16"))
        self.assertGreater(cpu["threads"], 0)
        self.assertGreater(cpu["l2_bytes"], 0)
        self.assertEqual(cpu["calibrations"], [])  # the cache is new
        self.assertRegex(text, rf"(?m)^moec +{re.escape(report['version'])}$")
        self.assertRegex(text, rf"(?m)^cpu +{cpu['isa']}, {cpu['threads']} threads, L2 .* not calibrated")

    def test_each_library_is_found_with_a_version_or_missing_with_a_reason(self):
        report, text = self.doctor()
        self.assertTrue(self.library(report, "compiler")["found"])
        for name in LIBRARIES:
            library = self.library(report, name)
            with self.subTest(name):
                self.assertTrue(library["needed_for"])
                if library["found"]:
                    self.assertTrue(library["path"] and library["version"])
                    self.assertRegex(text, rf"(?m)^{name} +\S.*{re.escape(library['path'])}$")
                else:
                    self.assertTrue(library["problem"])
                    self.assertRegex(text, rf"(?m)^{name} +missing; needed for {library['needed_for']}\n +\S")
                    self.assertIn(library["problem"], text)

    def test_gpus_are_listed_where_the_driver_has_some(self):
        report, text = self.doctor()
        if not self.library(report, "NVIDIA driver")["found"]:
            self.assertEqual(report["gpus"], [])
            self.assertNotIn("cuda:0", text)
        for i, gpu in enumerate(report["gpus"]):
            self.assertEqual(gpu["device"], f"cuda:{i}")
            self.assertTrue(gpu["model"])
            self.assertEqual(gpu["usable"], not gpu["problem"])
            self.assertRegex(text, rf"(?m)^cuda:{i} +\S")
            if gpu["usable"]:
                self.assertIn(gpu["target"], text)

    def test_a_driver_without_a_gpu_is_found_and_said_to_be_of_no_use(self):
        folder = self.paths.failing_compiler.parent / "empty-driver"
        report, text = self.doctor(variables={"LD_LIBRARY_PATH": str(folder)})
        driver = self.library(report, "NVIDIA driver")
        self.assertEqual((driver["found"], driver["version"], driver["path"]),
                         (True, "CUDA 13.2", str(folder / "libcuda.so.1")))
        self.assertEqual(report["gpus"], [])
        self.assertRegex(text, r"(?m)^GPU +none that this build can use$")

    def test_the_cache_is_described_and_not_made(self):
        report, text = self.doctor()
        self.assertEqual(report["cache"], {"folder": str(self.cache), "usable": True, "exists": False, "problem": "",
                                           "entries": 0, "bytes": 0})
        self.assertIn(f"{self.cache}, to be made when it is needed", text)
        self.assertFalse(self.cache.exists())
        self.cache.write_text("no folder")
        report, text = self.doctor()
        self.assertFalse(report["cache"]["usable"])
        self.assertIn(str(self.cache), report["cache"]["problem"])
        self.assertRegex(text, r"(?m)^cache +not usable: ")

    def test_nvrtc_that_is_not_where_it_was_said_to_be(self):
        variables = {"MOEC_NVRTC_PATH": "/nowhere"}
        report, text = self.doctor(variables=variables)
        nvrtc = self.library(report, "NVRTC")
        self.assertFalse(nvrtc["found"])
        self.assertEqual(nvrtc["version"], "")
        self.assertIn("/nowhere", nvrtc["problem"])
        self.assertTrue(self.library(report, "compiler")["found"])
        self.assertEqual(report["environment"]["set"]["MOEC_NVRTC_PATH"], "/nowhere")
        self.assertRegex(text, r"(?m)^NVRTC +missing; needed for compiling for a GPU$")
        self.assertRegex(text, r"(?m)^environment +MOEC_NVRTC_PATH=/nowhere$")

    def test_without_the_compiler(self):
        nowhere = self.folder / "nowhere" / "libmoec-compiler.so"
        report, text = self.doctor(compiler=nowhere)
        compiler, nvrtc = self.library(report, "compiler"), self.library(report, "NVRTC")
        self.assertFalse(compiler["found"])
        self.assertIn(str(nowhere), compiler["problem"])
        self.assertFalse(nvrtc["found"])  # which the compiler opens
        self.assertIn("the compiler would look for it", nvrtc["problem"])
        self.assertRegex(text, r"(?m)^compiler +missing; needed for compiling what the cache does not have$")
        self.assertIn(str(nowhere), text)


if __name__ == "__main__":
    main()
