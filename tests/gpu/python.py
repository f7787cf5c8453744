"""tools/python on a GPU, with torch: golden families, the caller's routing, steps captured in torch's graphs. Needs torch and a GPU.

    PYTHONPATH=tools/python python3 tests/gpu/python.py --library build/release/lib/libmoec.so
"""

import argparse
import pathlib
import sys
import time
import unittest

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/python"))
sys.path.append(str(ROOT / "tests/e2e"))  # behind the standard library, whose modules some tests are named as
import moec  # noqa: E402
from support import golden_families, read_safetensors  # noqa: E402

OLMOE = ROOT / "tests/golden/configs/olmoe-1b-7b"
DTYPES = {"bfloat16": (torch.bfloat16, 1e-2), "float16": (torch.float16, 2e-3)}


def stream():
    return torch.cuda.current_stream().cuda_stream


def distance(found, expected):
    return (torch.linalg.norm(found.float() - expected.float()) / torch.linalg.norm(expected.float())).item()


class PythonOnGpu(unittest.TestCase):
    def open(self, model, **options):
        session = moec.open(model, device="cuda:0", **options)
        self.addCleanup(session.close)
        return session, next(iter(session.layers.values()))

    def test_goldens(self):
        seen = 0
        for folder in golden_families():
            _, shape, hidden = read_safetensors(folder / "input.safetensors")["hidden_states"]
            expected = torch.tensor(read_safetensors(folder / "expected.safetensors")["output"][2]).reshape(shape)
            try:
                session, layer = self.open(folder, max_tokens=shape[0], plain_weights=True)
            except moec.MoecError as error:
                self.assertIn("f32", str(error))
                continue
            dtype, bound = DTYPES[layer.dtype]
            hidden = torch.tensor(hidden).reshape(shape).to("cuda", dtype)
            output = torch.empty_like(hidden)
            with session.step(shape[0], stream=stream()) as step:
                step.forward(layer.number, hidden, output)
            self.assertLess(distance(output.cpu(), expected), bound, folder)
            seen += 1
        self.assertGreater(seen, 2)

    def test_captured_steps_compute_the_same_bits_whatever_is_live(self):
        few, many = 16, 4096
        session, layer = self.open(OLMOE, weights="random:seed=1", layers=[0], planned_tokens=few, max_tokens=many, max_graphs=4)
        session.start_loop(manual=True, window_steps=4)
        hidden, more = (torch.randn(tokens, layer.hidden, device="cuda", dtype=torch.bfloat16) for tokens in (few, many))
        eager, captured, unread = torch.empty_like(hidden), torch.empty_like(hidden), torch.empty_like(more)

        def forward(given, output):
            with session.step(len(given), stream=stream()) as step:
                step.forward(layer.number, given, output)

        forward(hidden, eager)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            forward(hidden, captured)

        def same():
            captured.zero_()
            graph.replay()
            torch.cuda.synchronize()
            return torch.equal(eager, captured)

        self.assertTrue(same())
        # A change to what many tokens want leaves the graph what it is.
        asked, end = session.loop_stats()["windows"], time.monotonic() + 120
        session.request_change()
        while session.loop_stats()["changes"] == 0 and time.monotonic() < end:
            forward(more, unread)
            self.assertTrue(same())
            if session.loop_stats()["windows"] > asked + 8:  # the request was answered by windows of few tokens
                asked = session.loop_stats()["windows"]
                session.request_change()
        self.assertGreater(session.loop_stats()["changes"], 0, session.loop_stats())
        self.assertTrue(same())
        print(f"of the loop: {session.loop_stats()}")
        session.stop_loop()
        del graph  # before the session whose buffers it has

    def test_the_callers_routing(self):
        tokens = 64
        session, layer = self.open(OLMOE, weights="random:seed=1", layers=[0], max_tokens=256)
        hidden = torch.randn(tokens, layer.hidden, device="cuda", dtype=torch.bfloat16)
        ids = torch.rand(tokens, layer.experts, device="cuda").topk(layer.top_k).indices.to(torch.int32)
        weights = torch.rand(tokens, layer.top_k, device="cuda")
        outputs = [torch.empty_like(hidden) for _ in range(2)]
        for scale, output in zip((1, 2), outputs):
            with session.step(tokens, stream=stream()) as step:
                step.forward(layer.number, hidden, output, ids=ids, weights=weights * scale)
            torch.cuda.synchronize()  # ids and weights must stay until then
        self.assertLess(distance(outputs[1], 2 * outputs[0]), 1e-2)
        other = torch.empty_like(hidden)
        with session.step(tokens, stream=stream()) as step:  # other tokens' experts
            step.forward(layer.number, hidden, other, ids=ids.roll(1, 0).contiguous(), weights=weights)
        torch.cuda.synchronize()
        self.assertGreater(distance(other, outputs[0]), 0.1)

    def test_what_lies_elsewhere_is_an_error(self):
        session, layer = self.open(OLMOE, weights="random:seed=1", layers=[0], max_tokens=256)
        here, there = torch.zeros(4, layer.hidden, dtype=torch.bfloat16), torch.zeros(4, layer.hidden, dtype=torch.bfloat16, device="cuda")
        with session.step(4, stream=stream()) as step:
            with self.assertRaisesRegex(moec.MoecError, "hidden: lies on cpu"):
                step.forward(layer.number, here, there)

    def test_what_a_call_costs_the_host(self):
        session, layer = self.open(OLMOE, weights="random:seed=1", layers=[0], max_tokens=256)
        hidden = torch.randn(1, layer.hidden, device="cuda", dtype=torch.bfloat16)
        output, seconds = torch.empty_like(hidden), []
        for _ in range(200):
            begin = time.perf_counter()
            with session.step(1, stream=stream()) as step:
                step.forward(layer.number, hidden, output)
            seconds.append(time.perf_counter() - begin)
            torch.cuda.synchronize()
        print(f"a step of one layer from Python: {sorted(seconds)[100] * 1e6:.1f} us of the host (median of 200)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", help="libmoec.so")
    arguments, rest = parser.parse_known_args()
    if arguments.library:
        moec.use(arguments.library)
    unittest.main(argv=["python", *rest], verbosity=2)
