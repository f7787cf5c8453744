"""The portable bundle (cmake/Bundle.cmake): it is complete, and runs without this machine's environment."""

import json
import pathlib
import subprocess
import sys
import tempfile

from support import ROOT, MoecTest, main

# What every machine has its own of.
SYSTEM = ("libc.", "libm.", "libdl.", "libpthread.", "librt.", "libstdc++.", "libgcc_s.", "ld-linux", "linux-vdso")


class Bundle(MoecTest):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.bundle = pathlib.Path(folder.name).resolve() / "moec-bundle"
        build = cls.paths.moec.parents[1]
        # The archive itself, so that its size is checked too (cmake/BundleSize.cmake).
        subprocess.run(["cpack", "--config", build / "CPackConfig.cmake", "-B", folder.name], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["tar", "-xf", cls.bundle.with_suffix(".tar.xz"), "-C", folder.name], check=True)

    def test_it_has_every_library_but_the_systems(self):
        files = [*(self.bundle / "bin").iterdir(), *(self.bundle / "lib").iterdir()]
        self.assertEqual(len(list((self.bundle / "bin").iterdir())), 5)
        for file in files:
            for line in self.bare("ldd", file).splitlines():
                name = line.strip().rpartition(" => ")[0] or pathlib.Path(line.split()[0]).name
                if not name.startswith(SYSTEM):
                    self.assertIn(f"=> {self.bundle}/", line, file)
            self.assertNotIn(".debug_info", self.bare("readelf", "-SW", file), f"{file} is not stripped")

    def test_moec_compiles_with_the_compiler_beside_it(self):
        moec = self.bundle / "bin/moec"
        libraries = {library["name"]: library for library in json.loads(self.bare(moec, "doctor", "--json"))["libraries"]}
        self.assertTrue(libraries["compiler"]["found"])
        self.assertEqual(pathlib.Path(libraries["compiler"]["path"]).resolve(), self.bundle / "lib/libmoec-compiler.so")
        self.bare(moec, "compile", self.bundle / "tests/golden/olmoe", "--layer", 0, "-o", "olmoe.moecpkg")
        self.assertIn("olmoe", self.bare(moec, "inspect", "olmoe.moecpkg"))

    def test_its_script_leaves_a_report(self):
        # Without a GPU the step fails at nvidia-smi; doctor answers anywhere.
        subprocess.run([self.bundle / "run-gpu-checks", "-s", "doctor", "report"], env={"PATH": "/usr/bin:/bin"},
                       cwd=self.folder, capture_output=True, timeout=240)
        self.assertRegex((self.folder / "report/summary.txt").read_text(), r"doctor +rc=0 ")

    def test_it_says_which_version_it_is_and_has_the_rivals(self):
        self.assertNotEqual((self.bundle / "VERSION").read_text().strip(), "")
        self.assertIn("--bundle", self.bare(sys.executable, self.bundle / "tools/bench/peers.py", "--help"))
        self.assertTrue((self.bundle / "tools/bench/rivals/torch_composed.py").exists())

    def test_more_than_40_mb_are_refused(self):
        for excess in (0, 1):
            package = self.folder / "moec-bundle.tar.xz"
            with open(package, "wb") as file:
                file.truncate(40_000_000 + excess)
            done = subprocess.run(["cmake", f"-DCPACK_PACKAGE_FILES={package}", "-P", ROOT / "cmake/BundleSize.cmake"],
                                  capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode != 0, package.exists()), (bool(excess), not excess), done.stderr)


if __name__ == "__main__":
    main()
