"""README's embedding example is code that runs, and prints what README says."""

import os
import re
import subprocess
import sys
import textwrap

from support import ROOT, MoecTest, main

README = (ROOT / "README.md").read_text()


class Readme(MoecTest):
    def test_the_embedding_example_is_the_programs_code(self):
        shown = re.search(r"## Embed it\n\n```cpp\n(.*?)```", README, re.DOTALL)[1]
        program = (ROOT / "tests/e2e/Embed.cpp").read_text()
        self.assertIn(textwrap.indent(shown, "  "), program)

    def test_it_prints_what_is_shown(self):
        command, says = re.search(r"^\$ build/release/bin/(embed .*)\n(.*)$", README, re.MULTILINE).groups()
        program, model = command.split()
        done = subprocess.run([self.paths.moec.parent / program, ROOT / model], env=os.environ | {"XDG_CACHE_HOME": str(self.folder)},
                              cwd=self.folder, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        # The last digit is rounding, which depends on the instructions that this processor has.
        self.assertEqual(done.stdout.strip()[:-1], says[:-1])

    def test_the_python_example_prints_the_same(self):
        shown = re.search(r"## Embed it\n.*?```python\n(.*?)```", README, re.DOTALL)[1]
        says = re.search(r"^\$ build/release/bin/embed .*\n(.*)$", README, re.MULTILINE)[1]
        for name in ("tools", "tests"):  # it runs in a checkout, and leaves a trace there
            (self.folder / name).symlink_to(ROOT / name)
        done = subprocess.run([sys.executable, "-c", shown], env=os.environ | {"XDG_CACHE_HOME": str(self.folder)}, cwd=self.folder,
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.strip()[:-1], says[:-1])
        self.assertIn("moec.decision-trace", (self.folder / "run.jsonl").read_text())


if __name__ == "__main__":
    main()
