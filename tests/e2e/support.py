"""What the end-to-end tests share: calling moec with an environment of its own, and .safetensors files."""

import argparse
import json
import math
import os
import pathlib
import struct
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"


def golden_families():
    """Folders with a model, an input, and what transformers computes from it."""
    return sorted(path.parent for path in GOLDEN.glob("*/expected.safetensors"))


class MoecTest(unittest.TestCase):
    """Each test has a folder and a cache of its own."""

    paths = None  # of the built files, from the command line

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.cache = self.folder / "cache"

    def call(self, *arguments, compiler=None, cwd=None, variables=None, stdout=subprocess.PIPE):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MOEC_")}
        environment |= {"MOEC_CACHE_DIR": str(self.cache), "MOEC_COMPILER_LIBRARY": str(compiler or self.paths.compiler)}
        environment |= variables or {}
        return subprocess.run([self.paths.moec, *map(str, arguments)], env=environment, cwd=cwd or self.folder,
                              stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=240)

    def bare(self, *command, expect=0):
        """Runs a program in an environment with nothing but a path to the system's own tools."""
        done = subprocess.run(list(map(str, command)), env={"PATH": "/usr/bin:/bin"}, cwd=self.folder,
                              capture_output=True, text=True, timeout=240)
        self.assertEqual(done.returncode, expect, f"{command}\n{done.stdout}{done.stderr}")
        return done.stdout

    def expect(self, code, *arguments, says=(), **options):
        """Calls moec, and wants this exit code and all of `says` on stderr."""
        done = self.call(*arguments, **options)
        self.assertEqual(done.returncode, code, f"moec {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
        for text in says:
            self.assertIn(str(text), done.stderr)
        if code != 0:
            self.assertTrue(done.stderr.startswith("moec"), done.stderr)
        return done

    def expect_json(self, *arguments, **options):
        done = self.expect(0, *arguments, "--format=json", **options)
        result = json.loads(done.stdout)
        self.assertTrue(result["schema"].startswith("moec."))
        self.assertEqual(result["schema_version"], 1)
        return result

    def layer_of(self, model):
        """The number of the model's first MoE layer."""
        return self.expect_json("inspect", model)["layers"][0]["layer"]


def main():
    parser = argparse.ArgumentParser()
    for name in ("--moec", "--compiler", "--failing-compiler"):
        parser.add_argument(name, required=True, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--device", help="a GPU to run on as well, cuda:0")
    MoecTest.paths, rest = parser.parse_known_args()
    unittest.main(argv=["e2e", *rest], verbosity=2)


def read_safetensors(path):
    """{name: (dtype, shape, values as floats or integers)}"""
    data = pathlib.Path(path).read_bytes()
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + length])
    return {name: (tensor["dtype"], tensor["shape"], _values(data, 8 + length, tensor))
            for name, tensor in header.items() if name != "__metadata__"}


def _values(data, start, tensor):
    count = math.prod(tensor["shape"])
    begin = start + tensor["data_offsets"][0]
    if tensor["dtype"] == "BF16":  # the upper half of an f32
        halves = struct.unpack_from(f"<{count}H", data, begin)
        return struct.unpack(f"<{count}f", struct.pack(f"<{count}I", *(half << 16 for half in halves)))
    formats = {"F32": "f", "F16": "e", "I32": "i", "I64": "q"}
    return struct.unpack_from(f"<{count}{formats[tensor['dtype']]}", data, begin)


def write_safetensors(path, tensors):
    """tensors: {name: (shape, floats)}, written as F32."""
    header, body = {}, b""
    for name, (shape, values) in tensors.items():
        part = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(part)]}
        body += part
    text = json.dumps(header).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + body)


def relative_error(found, expected):
    """Relative L2 distance; NaN where anything is NaN."""
    distance = math.sqrt(sum((a - b) ** 2 for a, b in zip(found, expected, strict=True)))
    return distance / math.sqrt(sum(b * b for b in expected))
