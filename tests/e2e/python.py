"""tools/python: layers by libmoec.so from Python, on buffers of its standard library."""

import array
import ctypes
import subprocess
import sys
import threading

from support import GOLDEN, ROOT, MoecTest, golden_families, main, read_safetensors, relative_error

sys.path.insert(0, str(ROOT / "tools/python"))
import moec  # noqa: E402

OLMOE = GOLDEN / "olmoe"


class FakeTensor:
    """Looks like torch's: what moec asks of one."""

    class Device:
        def __init__(self, kind, index=None):
            self.type, self.index = kind, index

    def __init__(self, floats, shape, dtype="torch.float32", device="cpu", contiguous=True):
        self.memory, self.shape, self.dtype = array.array("f", floats), shape, dtype
        self.device, self.contiguous = self.Device(*device) if isinstance(device, tuple) else self.Device(device), contiguous

    def data_ptr(self):
        return self.memory.buffer_info()[0]

    def is_contiguous(self):
        return self.contiguous


class Python(MoecTest):
    @classmethod
    def setUpClass(cls):
        moec.use(cls.paths.moec.parents[1] / "lib/libmoec.so")

    def open(self, model=OLMOE, **options):
        session = moec.open(model, cache=self.cache, compiler=self.paths.compiler, calibration="assumed", **options)
        self.addCleanup(session.close)
        return session

    def fails(self, code, says, call, *arguments, **options):
        with self.assertRaises(moec.MoecError) as caught:
            call(*arguments, **options)
        self.assertEqual(caught.exception.code, code)
        self.assertIn(says, str(caught.exception))

    def test_goldens(self):
        seen = 0
        for folder in golden_families():
            dtype, shape, hidden = read_safetensors(folder / "input.safetensors")["hidden_states"]
            expected = read_safetensors(folder / "expected.safetensors")["output"][2]
            session = self.open(folder, max_tokens=shape[0])
            layer = next(iter(session.layers.values()))
            if layer.dtype != "float32" or dtype != "F32":
                continue
            hidden, output = array.array("f", hidden), array.array("f", bytes(4 * len(hidden)))
            with session.step(shape[0]) as step:
                self.assertIs(step.forward(layer.number, hidden, output), output)
            self.assertLess(relative_error(output, expected), 1e-5, folder)
            seen += 1
        self.assertGreater(seen, 2)

    def test_the_routers_choice_handed_back_is_the_same_forward(self):
        session = self.open()
        (number, layer), tokens = next(iter(session.layers.items())), 5
        hidden = FakeTensor([(i % 251) / 125 - 1 for i in range(tokens * layer.hidden)], (1, tokens, layer.hidden))
        by_router, by_caller = (FakeTensor([0] * (tokens * layer.hidden), (tokens, layer.hidden)) for _ in range(2))
        pairs = tokens * layer.top_k
        ids, weights = array.array("i", [-2] * pairs), array.array("f", [0] * pairs)
        with session.step(tokens, prefill=True) as step:
            step.forward(number, hidden, by_router)
            step.route(number, hidden, ids, weights)
            step.forward(number, hidden, by_caller, ids=ids, weights=weights)
            self.assertEqual(step.generation, 0)
        self.assertTrue(all(0 <= expert < layer.experts for expert in ids))
        self.assertEqual(by_router.memory, by_caller.memory)
        self.assertNotEqual(by_router.memory, array.array("f", [0] * (tokens * layer.hidden)))
        self.assertEqual(session.stats()["forwards"], 2)
        # Nobody's pairs: nothing is added.
        with session.step(tokens) as step:
            step.forward(number, hidden, by_caller, ids=array.array("i", [-1] * pairs), weights=weights)
        self.assertEqual(set(by_caller.memory), {0.0})

    def test_the_loop_runs_and_leaves_a_trace(self):
        session, trace = self.open(), self.folder / "run.jsonl"
        session.start_loop(trace=trace, window_steps=4)
        self.fails("invalid-argument", "a loop already", session.start_loop)
        number, layer = next(iter(session.layers.items()))
        hidden, output = (array.array("f", bytes(4 * 8 * layer.hidden)) for _ in range(2))
        while session.loop_stats()["decisions"] == 0:
            with session.step(8) as step:
                step.forward(number, hidden, output)
        session.request_change()
        session.stop_loop()
        self.fails("not-found", "no loop", session.loop_stats)
        self.fails("not-found", "no loop", session.request_change)
        session.start_loop(trace="/dev/full")
        self.fails("failure", "trace /dev/full", session.stop_loop)
        self.fails("not-found", "no loop", session.stop_loop)  # it has stopped all the same
        for verb in ("summary", "replay"):
            subprocess.run([self.paths.moec.parent / "moec-trace", verb, trace], check=True, stdout=subprocess.DEVNULL)

    def test_what_goes_wrong_is_an_error_that_names_it(self):
        self.fails("not-found", "no-such", moec.open, "no-such-folder", cache=self.cache)
        self.fails("invalid-argument", "mode", moec.open, OLMOE, mode="fast")
        self.fails("invalid-argument", "'abacus'", self.open, device="abacus")
        self.fails("compile-forbidden", "", moec.open, OLMOE, cache=self.folder / "empty", compiler=self.paths.compiler,
                   calibration="assumed", cache_only=True)
        # Known by name, but nothing of it is compiled.
        self.fails("invalid-argument", "abacus", moec.open, OLMOE, cache=self.folder / "described", compiler=self.paths.compiler, device="abacus")
        self.fails("compile-forbidden", "", moec.open, OLMOE, cache=self.folder / "described", compiler=self.paths.compiler,
                   calibration="assumed", cache_only=True)
        self.fails("invalid-argument", "layers: none", moec.open, OLMOE, layers=[])
        self.fails("invalid-argument", "cuda or cuda:N", self.open, device="h100")
        self.fails("not-found", "no-\ufffd-such", moec.open, b"no-\xff-such")
        off = self.open(mode="off")
        self.fails("invalid-argument", "generation 0", off.start_loop)
        self.fails("compile-failed", "", moec.open, OLMOE, cache=self.folder / "other", compiler=self.paths.failing_compiler)
        session = self.open(max_tokens=4)
        number, layer = next(iter(session.layers.items()))
        good = array.array("f", bytes(16 * layer.hidden))
        self.fails("resource-exhausted", "5", session.step, 5)
        step = session.step(4)
        self.fails("invalid-argument", "1 steps have not ended", session.close)
        forward = step.forward
        self.fails("not-found", "99", forward, 99, good, good)
        self.fails("invalid-argument", "hidden: its dtype is d, the layer's float32", forward, number, array.array("d", [0]), good)
        self.fails("invalid-argument", "hidden: shape [3]", forward, number, array.array("f", [0, 0, 0]), good)
        self.fails("invalid-argument", "hidden: neither", forward, number, [0.0], good)
        self.fails("invalid-argument", "output: read-only", forward, number, good, memoryview(bytes(good)).cast("f"))
        self.fails("invalid-argument", "hidden: not contiguous", forward, number, memoryview(good)[::2], good)
        self.fails("invalid-argument", "hidden: lies on cuda:1", forward, number, FakeTensor([0], (1, layer.hidden), device=("cuda", 1)), good)
        self.fails("invalid-argument", "dtype is bfloat16", forward, number, FakeTensor([0], (4, layer.hidden), "torch.bfloat16"), good)
        self.fails("invalid-argument", "the same memory", forward, number, good, good)
        other = array.array("f", good)
        self.fails("invalid-argument", "ids: shape [2, 8]", forward, number, good, other, weights=good,
                   ids=memoryview(array.array("i", [0] * 16)).cast("B").cast("i", (2, 8)))
        self.fails("invalid-argument", "tokens: 4294967298", session.step, (1 << 32) + 2)
        self.fails("invalid-argument", "1 steps have not ended", session.start_loop)
        self.fails("invalid-argument", "hidden: not contiguous", forward, number, FakeTensor([0], (4, layer.hidden), contiguous=False), good)
        self.fails("invalid-argument", "ids: neither", forward, number, good, good, weights=good)
        self.fails("invalid-argument", "ids: shape [1]", forward, number, good, good, ids=array.array("i", [0]), weights=good)
        self.fails("invalid-argument", "ids: its dtype is f, not int32", forward, number, good, good, ids=good, weights=good)
        step.end()
        step.end()
        self.fails("invalid-argument", "has ended", forward, number, good, array.array("f", good))
        session.close()
        session.close()
        self.fails("invalid-argument", "closed", session.stats)
        self.fails("device-missing", "no-such.so", moec.use, "no-such.so")

    def test_any_buffer_will_do_and_stays_where_it_is(self):
        session = self.open()
        number, layer = next(iter(session.layers.items()))
        values = [(i % 13) / 13 for i in range(2 * layer.hidden)]
        expected = array.array("f", bytes(8 * layer.hidden))
        with session.step(2) as step:
            step.forward(number, array.array("f", values), expected)
            output = (ctypes.c_float * len(values))()
            step.forward(number, (ctypes.c_float * len(values))(*values), output)
            self.assertEqual(list(output), list(expected))
        memory = moec._tensors.Memory(expected, "output", ("cpu", 0))
        with self.assertRaises(BufferError):
            expected.extend([0.0])
        del memory
        expected.extend([0.0])

    def test_bf16_as_integers(self):
        folder = GOLDEN / "mixtral"
        _, shape, values = read_safetensors(folder / "input.safetensors")["hidden_states"]
        expected = read_safetensors(folder / "expected.safetensors")["output"][2]
        session = self.open(folder, max_tokens=shape[0])
        number, layer = next(iter(session.layers.items()))
        self.assertEqual(layer.dtype, "bfloat16")
        bits = array.array("I", array.array("f", values).tobytes())
        hidden, output = array.array("H", [b >> 16 for b in bits]), array.array("H", bytes(2 * len(values)))
        with session.step(shape[0]) as step:
            step.forward(number, hidden, output)
            self.fails("invalid-argument", "dtype is f", step.forward, number, array.array("f", values), output)
        found = array.array("f", array.array("I", [b << 16 for b in output]).tobytes())
        self.assertLess(relative_error(found, expected), 1e-2)

    def test_closing_waits_for_other_threads_calls(self):
        switch = sys.getswitchinterval()
        self.addCleanup(sys.setswitchinterval, switch)
        sys.setswitchinterval(1e-6)
        for _ in range(10):
            session = self.open(max_steps=4)

            def use(call):
                try:
                    while True:
                        call()
                except moec.MoecError as error:
                    seen.append(str(error))

            def step():
                with session.step(1):
                    pass

            seen, calls = [], (step, step, session.stats)
            threads = [threading.Thread(target=use, args=(call,)) for call in calls]
            for thread in threads:
                thread.start()
            while True:
                try:
                    session.close()
                    break
                except moec.MoecError as error:
                    self.assertIn("steps have not ended", str(error))
            for thread in threads:
                thread.join()
            self.assertEqual(seen, ["the session is closed"] * 3)

    SETUP = """
import array, gc, os, sys, threading, time
sys.path.insert(0, sys.argv[1])
import moec
moec.use(sys.argv[2])
def opened(max_steps=4):
    return moec.open(sys.argv[3], cache=sys.argv[4], compiler=sys.argv[5], calibration="assumed", max_steps=max_steps)
def stepping(session, tokens=512):
    number, layer = next(iter(session.layers.items()))
    hidden, output = (array.array("f", bytes(4 * tokens * layer.hidden)) for _ in range(2))
    try:
        while True:
            with session.step(tokens) as step:
                step.forward(number, hidden, output)
    except moec.MoecError:
        pass
def begin(session, workers=2):
    for _ in range(workers):
        threading.Thread(target=stepping, args=(session,), daemon=True).start()
    time.sleep(0.1)
"""

    def script(self, text):
        library = self.paths.moec.parents[1] / "lib/libmoec.so"
        done = subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", self.SETUP + text, ROOT / "tools/python", library,
                               OLMOE, self.cache, self.paths.compiler], cwd=self.folder, capture_output=True, text=True, timeout=120)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_what_is_dropped_is_closed(self):
        # A session that nobody closes leaves a whole trace, and a step that nobody ends gives its slot back.
        self.assertEqual(self.script("""
session = opened(max_steps=1)
session.start_loop(trace="dropped.jsonl")
number, layer = next(iter(session.layers.items()))
hidden = array.array("f", bytes(4 * layer.hidden))
for _ in range(3):
    step = session.step(1)
    step.forward(number, hidden, array.array("f", hidden))
    del step
try:
    with session:
        step = session.step(1)
        raise ValueError("the caller's own")
except ValueError as error:
    print(error)
other = opened()
other.start_loop(trace="left.jsonl")
"""), "the caller's own\n")
        for trace in ("dropped.jsonl", "left.jsonl"):
            self.assertIn('"event":"end"', (self.folder / trace).read_text())

    def test_a_program_may_end_while_other_threads_step(self):
        for _ in range(3):
            self.script("session = opened()\nbegin(session)\n")

    def test_an_exception_is_the_callers_own_while_other_threads_step(self):
        self.assertEqual(self.script("""
for _ in range(5):
    try:
        with opened() as session:
            begin(session)
            raise ValueError("own")
    except ValueError as error:
        print(error)
"""), "own\n" * 5)

    def test_what_is_collected_together_is_closed(self):
        self.script("""
def use():
    session = opened()
    session.start_loop(trace="collected.jsonl")
    step = session.step(1)
    session.itself, step.itself = session, step  # cycles: both go in one collection
use()
gc.collect()
assert '"event":"end"' in open("collected.jsonl").read()
""")

    def test_a_forked_child_leaves_the_session_alone(self):
        self.assertEqual(self.script("""
session = opened()
with session.step(1):
    child = os.fork()
    if child == 0:
        try:
            session.stats()
        except moec.MoecError as error:
            print(error, flush=True)
        session.close()
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(session.stats()["forwards"])
"""), "the session is the parent process's: open one in this process\n0\n")

    def test_the_loop_starts_and_stops_between_steps_alone(self):
        session = self.open(max_steps=4)
        stop = threading.Event()

        def step():
            while not stop.is_set():
                with session.step(1):
                    pass

        thread = threading.Thread(target=step)
        thread.start()
        for _ in range(200):
            try:
                session.start_loop()
                while True:
                    try:
                        session.stop_loop()
                        break
                    except moec.MoecError as error:
                        self.assertIn("1 steps have not ended", str(error))
            except moec.MoecError as error:
                self.assertIn("1 steps have not ended", str(error))
        stop.set()
        thread.join()
        self.fails("not-found", "no loop", session.loop_stats)

    def test_a_step_on_a_generation_of_its_own(self):
        session = self.open()
        with session.step(1, generation=0) as step:
            self.assertEqual(step.generation, 0)
        self.fails("not-found", "generation 7", session.step, 1, generation=7)
        self.assertEqual(session.stats()["alternateGeneration"], -1)

    def test_read_only_hidden_states_are_fine(self):
        session = self.open()
        number, layer = next(iter(session.layers.items()))
        values = array.array("f", [(i % 13) / 13 for i in range(2 * layer.hidden)])
        outputs = [array.array("f", bytes(8 * layer.hidden)) for _ in range(2)]
        with session.step(2) as step:
            step.forward(number, values, outputs[0])
            step.forward(number, memoryview(bytes(values)).cast("f"), outputs[1])
        self.assertEqual(*outputs)

    def test_struct_sizes_are_the_headers(self):
        """ctypes' structs are the compiler's: a C program prints its own sizes."""
        from moec import _library
        structs = {f"Moec{name}": getattr(_library, name) for name in ("ModelOptions", "SessionOptions", "Layer", "SessionStats",
                                                                       "Tensor", "StepOptions", "LoopOptions", "LoopStats")}
        structs["MoecStep"] = _library.StepMemory
        lines = [f'  printf("{name} %d\\n", (int)sizeof({name}));' for name in structs]
        lines += [f'  printf("{name}.{field[0]} %d\\n", (int)offsetof({name}, {field[0]}));'
                  for name, struct in structs.items() for field in struct._fields_]
        source = self.folder / "sizes.c"
        source.write_text('#include "runtime/c/moec.h"\n#include <stdio.h>\nint main(void) {\n' + "\n".join(lines) + "\n  return 0;\n}\n")
        subprocess.run(["cc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}", source, "-o", self.folder / "sizes"], check=True)
        said = subprocess.run([self.folder / "sizes"], check=True, capture_output=True, text=True).stdout.split()
        says = dict(zip(said[::2], map(int, said[1::2])))
        for name, struct in structs.items():
            self.assertEqual(says[name], ctypes.sizeof(struct), name)
            for field in struct._fields_:
                self.assertEqual(says[f"{name}.{field[0]}"], getattr(struct, field[0]).offset, f"{name}.{field[0]}")


if __name__ == "__main__":
    main()
