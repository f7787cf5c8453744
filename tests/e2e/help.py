"""Every verb's help has an example, and the example works."""

import re
import shlex
import subprocess

from support import ROOT, MoecTest, main

# In this order, so that the later ones find what the earlier ones left.
VERBS = ["import", "compile", "run", "inspect", "cache warm", "cache stat", "cache verify", "cache export", "cache import",
         "cache gc", "cache clear", "doctor", "bench", "place"]
TRACE_VERBS = ["summary", "explain", "replay", "render", "profile"]


class Help(MoecTest):
    def examples_of(self, text):
        return [shlex.split(line) for line in re.findall(r"^  (moec(?:-\w+)? .*)$", re.split("Examples?:", text, 1)[1], re.MULTILINE)]

    def run_examples(self, text, name):
        """Runs the examples as they are written, in a folder that has the repository's tests."""
        examples = self.examples_of(text)
        self.assertTrue(examples, name)
        for tool, *arguments in examples:
            with self.subTest(example=" ".join([tool, *arguments])):
                if tool == "moec":
                    self.assertTrue(self.expect(0, *arguments).stdout)
                else:
                    done = self.tool(tool, *arguments)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertTrue(done.stdout or "-o" in arguments)

    def tool(self, name, *arguments):
        return subprocess.run([self.paths.moec.parent / name, *arguments], cwd=self.folder, capture_output=True, text=True,
                              timeout=60)

    def test_every_verb_is_listed_and_has_help(self):
        listed = self.expect(0, "--help").stdout
        for verb in {verb.split()[0] for verb in VERBS}:
            self.assertRegex(listed, rf"(?m)^  {verb} ")
            text = self.expect(0, verb, "--help").stdout
            self.assertIn("Example", text)

    def test_every_verb_takes_a_format(self):
        for verb in VERBS:
            self.assertIn("--format", self.expect(0, *verb.split(), "--help").stdout, verb)

    def test_examples_run_as_they_are_written(self):
        (self.folder / "tests").symlink_to(ROOT / "tests")  # what the examples name
        for verb in ["", *VERBS]:
            self.run_examples(self.expect(0, *verb.split(), "--help").stdout, verb)

    def test_examples_of_the_other_tools_run_too(self):
        (self.folder / "tests").symlink_to(ROOT / "tests")
        self.run_examples(self.tool("moec-opt", "--help").stdout, "moec-opt")
        for verb in [(), *((verb,) for verb in TRACE_VERBS)]:  # the first writes the trace that the others read
            self.run_examples(self.tool("moec-trace", *verb, "--help").stdout, verb)

    def test_nothing_but_the_result_is_on_stdout(self):
        for arguments in (["compil"], ["compile", "--taget=cpu"], ["inspect", "nowhere"], []):
            self.assertEqual(self.call(*arguments).stdout, "")


if __name__ == "__main__":
    main()
