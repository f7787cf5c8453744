"""What `cmake --install` leaves (cmake/Install.cmake): tools that run from there, and an API that another project can build with."""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from support import ROOT, MoecTest, main


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=280, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


class Install(MoecTest):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.prefix = pathlib.Path(folder.name).resolve() / "prefix"
        run("cmake", "--install", cls.paths.moec.parents[1], "--prefix", cls.prefix)

    def test_tools_run_from_there(self):
        self.bare(self.prefix / "bin/moec", "compile", ROOT / "tests/golden/olmoe", "--layer", 0, "-o", "olmoe.moecpkg")
        self.assertIn("olmoe", self.bare(self.prefix / "bin/moec", "inspect", "olmoe.moecpkg"))
        self.bare(self.prefix / "bin/moec-trace", "--help")
        self.bare(self.prefix / "bin/moec-opt", "--help")

    def test_nothing_else_is_there(self):
        self.assertEqual({path.name for path in self.prefix.iterdir()}, {"bin", "include", "lib"})
        for file in (self.prefix / "include/moec").rglob("*.*"):
            self.assertEqual(file.suffix, ".h")

    def test_another_project_embeds_it(self):
        sources = self.folder / "headers"
        sources.mkdir()
        cache = (self.paths.moec.parents[1] / "CMakeCache.txt").read_text()
        cuda = re.search(r"^MOEC_CUDA_INCLUDE:\w+=(/.*)$", cache, re.MULTILINE)  # cuda.h is the user's to have
        for header in (self.prefix / "include/moec").rglob("*.h"):
            name = header.relative_to(self.prefix / "include/moec")
            if cuda or name.parts[:3] != ("runtime", "device", "cuda"):
                (sources / f"{'_'.join(name.with_suffix('').parts)}.cpp").write_text(f'#include "{name}"\n')
        (sources / "plain.cpp").write_text("#include <moec.h>\n")
        project, build = self.folder / "consumer", self.folder / "build"
        shutil.copytree(ROOT / "tests/e2e/consumer", project)
        for program in ("Embed.cpp", "EmbedC.c"):
            shutil.copy(ROOT / "tests/e2e" / program, project)
        headers = ";".join(map(str, sorted(sources.iterdir())))
        self.assertGreater(len(headers.split(";")), 20)
        run("cmake", "-S", project, "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}", "-DEMBED=Embed.cpp", "-DEMBED_C=EmbedC.c", f"-DHEADERS={headers}",
            f"-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror -Wno-unused-parameter {f'-isystem {cuda[1]}' if cuda else str()}")
        run("cmake", "--build", build, "--parallel", 2)
        says = re.search(r"^\$ build/release/bin/embed .*\n(.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)[1]
        # The last digit is rounding, which depends on the instructions that this processor has.
        for program in ("embed", "embed-c"):
            self.assertEqual(self.bare(build / program, ROOT / "tests/golden/olmoe").strip()[:-1], says[:-1])

    def test_c_and_python_find_it(self):
        source = self.folder / "version.c"
        source.write_text("#include <moec.h>\n#include <stdio.h>\nint main(void) { return puts(moec_version()) < 0; }\n")
        run("cc", source, f"-I{self.prefix}/include", f"-L{self.prefix}/lib", f"-Wl,-rpath,{self.prefix}/lib", "-lmoec", "-o", self.folder / "version")
        python = run(sys.executable, "-c", "import moec; print(moec.version())", env={"PYTHONPATH": str(self.prefix / "lib/python")}, cwd=self.folder)
        self.assertEqual(self.bare(self.folder / "version"), python)


if __name__ == "__main__":
    main()
