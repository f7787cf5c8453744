"""Every verb's help has an example, and the example works."""

import re
import shlex

from support import ROOT, MoecTest, main

# In this order, so that the later ones find what the earlier ones left.
VERBS = ["import", "compile", "run", "inspect", "cache warm", "cache stat", "cache verify", "cache export", "cache import",
         "cache gc", "cache clear", "doctor"]


class Help(MoecTest):
    def examples_of(self, text):
        return [shlex.split(line)[1:] for line in re.findall(r"^  (moec .*)$", text.split("Example", 1)[1], re.MULTILINE)]

    def test_every_verb_is_listed_and_has_help(self):
        listed = self.expect(0, "--help").stdout
        for verb in {verb.split()[0] for verb in VERBS} | {"bench"}:
            self.assertRegex(listed, rf"(?m)^  {verb} ")
            text = self.expect(0, verb, "--help").stdout
            self.assertIn("Example", text)

    def test_every_verb_takes_a_format(self):
        for verb in VERBS:
            self.assertIn("--format", self.expect(0, *verb.split(), "--help").stdout, verb)

    def test_examples_run_as_they_are_written(self):
        (self.folder / "tests").symlink_to(ROOT / "tests")  # what the examples name
        for verb in ["", *VERBS]:
            examples = self.examples_of(self.expect(0, *verb.split(), "--help").stdout)
            self.assertTrue(examples, verb)
            for example in examples:
                with self.subTest(example=" ".join(example)):
                    self.assertTrue(self.expect(0, *example).stdout)

    def test_nothing_but_the_result_is_on_stdout(self):
        for arguments in (["compil"], ["compile", "--taget=cpu"], ["inspect", "nowhere"], []):
            self.assertEqual(self.call(*arguments).stdout, "")


if __name__ == "__main__":
    main()
