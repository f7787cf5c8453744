"""moec in Python: Mixture-of-Experts layers that are compiled just in time, and compiled again when routing drifts.

    import moec

    with moec.open("tests/golden/olmoe", max_tokens=256) as session:
        session.start_loop(trace="run.jsonl")         # recompiles in the background; moec-trace explain run.jsonl
        with session.step(tokens) as step:            # pins one generation
            step.forward(layer, hidden, output)       # hidden, output: [tokens, H], of torch, numpy or any buffer

On a GPU tensors lie there, and steps name the stream that kernels are queued on:

    session = moec.open(folder, device="cuda:0")
    with session.step(tokens, stream=torch.cuda.current_stream().cuda_stream) as step:
        step.forward(layer, hidden, output)

Errors are MoecError, whose `code` says of what kind. Sessions are thread-safe, a step is for one thread; calls let other Python
threads run. What is dropped is closed, at the end of the program, too (keep a session as long as graphs that have captured its steps). A session
is of no use in a forked child: open one there.

No dependencies; libmoec.so is found beside the installed package, in build/release of a checkout, or by the system's loader
(`moec.use` names another).
"""

import ctypes
import os
import threading
import weakref
from contextlib import contextmanager

from . import _library, _tensors
from ._library import MoecError

__all__ = ["MoecError", "Layer", "Session", "Step", "open", "use", "version"]

_loaded = None


def use(path):
    """Takes `path` for libmoec.so. Before anything else is called."""
    global _loaded
    _loaded = _library.Library(path)


def _lib():
    global _loaded
    if _loaded is None:
        _loaded = _library.Library()
    return _loaded


def version():
    """ "0.1.0+<build id>"."""
    return _lib().version().decode()


def _bytes(text):
    return None if text is None else os.fsencode(text)


def _fields(struct, skip=("size", "reserved")):
    return {name: getattr(struct, name) for name, _ in struct._fields_ if name not in skip}


def _u32(value, name):
    if not 0 <= value < 1 << 32:
        raise MoecError("invalid-argument", f"{name}: {value} is no number from 0 to {(1 << 32) - 1}")
    return value


class Layer:
    """An open MoE layer in numbers: number, hidden (H), intermediate, experts, top_k, dtype ("float32", "bfloat16", "float16")."""

    def __init__(self, raw):
        self.number, self.hidden, self.intermediate = raw.number, raw.hidden, raw.intermediate
        self.experts, self.top_k = raw.experts, raw.topK
        self.dtype = ("float32", "bfloat16", "float16")[raw.dtype]

    def __repr__(self):
        return (f"Layer(number={self.number}, hidden={self.hidden}, intermediate={self.intermediate}, experts={self.experts}, "
                f"top_k={self.top_k}, dtype={self.dtype!r})")


def open(model, *, device="cpu", weights=None, layers=None, max_tokens=1024, max_steps=2, threads=0, planned_tokens=256,
         max_graphs=0, max_graph_tokens=256, mode="auto", calibration="once", pack_budget=None, fail_on_non_finite=False,
         plain_weights=False, cache=None, compiler=None, cache_only=False):
    """Opens a session of `model`: a Hugging Face folder, its config.json, a model description (.mlir) or a package.

    weights      a checkpoint's folder, or "random:seed=1"; None: the model's folder
    layers       numbers of the layers to open; None: all
    max_tokens   of a step; max_steps of them may be in flight at once
    mode         "auto", "manual", "off", "strict" (never compiles) or "deterministic"
    calibration  "once", "assumed" or "measure"
    pack_budget  memory for packed experts on a CPU: "40%", "512MiB"
    cache        folder of compiled kernels; None: as MOEC_CACHE_DIR says, else ~/.cache/moec
    compiler     path of libmoec-compiler.so; None: as MOEC_COMPILER_LIBRARY says, else beside libmoec.so

    On a GPU, max_graphs captured steps of up to max_graph_tokens tokens may exist at once.
    """
    lib, handle, session = _lib(), ctypes.c_void_p(), ctypes.c_void_p()
    modes, calibrations = ("auto", "manual", "off", "strict", "deterministic"), ("once", "assumed", "measure")
    for name, value, known in (("mode", mode, modes), ("calibration", calibration, calibrations)):
        if value not in known:
            raise MoecError("invalid-argument", f"{name}: {value!r} is none of {', '.join(known)}")
    if layers is not None and len(layers) == 0:
        raise MoecError("invalid-argument", "layers: none; None stands for all")
    numbers = None if layers is None else (ctypes.c_uint32 * len(layers))(*(_u32(number, "layers") for number in layers))
    sizes = {"maxTokens": max_tokens, "maxSteps": max_steps, "threads": threads, "plannedTokens": planned_tokens,
             "maxGraphs": max_graphs, "maxGraphTokens": max_graph_tokens}
    options = _library.SessionOptions(
        **{name: _u32(value, name) for name, value in sizes.items()}, mode=modes.index(mode), calibration=calibrations.index(calibration),
        failOnNonFinite=fail_on_non_finite, numLayers=0 if layers is None else len(layers), layers=numbers, device=_bytes(device),
        weights=_bytes(weights), packBudget=_bytes(pack_budget))
    kind, _, index = device.partition(":")
    lies = ("cuda", int(index or 0)) if kind == "cuda" and (index or "0").isdecimal() else ("cpu", 0)
    lib.model_load(os.fsencode(model), _library.ModelOptions(environment=1, plainWeights=plain_weights, cacheOnly=cache_only,
                                                             cacheFolder=_bytes(cache), compilerLibrary=_bytes(compiler)),
                   ctypes.byref(handle))
    try:
        lib.session_open(handle, options, ctypes.byref(session))
    finally:
        lib.model_release(handle)
    return Session(_Native(lib, session, lies))


class _Native:
    """A session's handle, and who is using it: what outlives the Python objects, for their finalizers.

    `changed` guards all but the first three fields. It is re-entrant, since a finalizer may run in a thread that holds it; a step's
    own lock is never waited for by who holds it.
    """

    def __init__(self, lib, handle, device):
        self.lib, self.device, self.process = lib, device, os.getpid()
        self.changed = threading.Condition()
        self.handle, self.calls, self.steps = handle, 0, 0
        self.refuses = False  # it is being closed
        self.dropped = False  # nobody will close it: its last step does

    def check(self):
        if os.getpid() != self.process:
            raise MoecError("invalid-argument", "the session is the parent process's: open one in this process")

    @contextmanager
    def using(self, is_step=False):
        """The handle, which no close takes away meanwhile. `is_step`: and until `ended`."""
        self.check()
        with self.changed:
            if self.handle is None or self.refuses:
                raise MoecError("invalid-argument", "the session is closed")
            self.calls += 1
            self.steps += is_step
            handle = self.handle
        failed = True
        try:
            yield handle
            failed = False
        finally:
            with self.changed:
                self.calls -= 1
                self.changed.notify_all()
            if failed and is_step:
                self.ended()

    @contextmanager
    def at_rest(self):
        """The handle; on a CPU without a step in flight, nor one that begins meanwhile."""
        if self.device[0] != "cpu":
            with self.using() as handle:
                yield handle
            return
        self.check()
        with self.changed:
            self.not_in_use()
            if self.handle is None:
                raise MoecError("invalid-argument", "the session is closed")
            yield self.handle

    def not_in_use(self):
        if self.steps:
            raise MoecError("invalid-argument", f"{self.steps} steps have not ended")

    def end(self, memory, busy):
        if os.getpid() != self.process:
            return
        with busy:  # not inside another thread's forward
            self.lib.step_end(memory)
        self.ended()

    def ended(self):
        with self.changed:
            self.steps -= 1
            self.changed.notify_all()
            if self.dropped:
                self.forget()

    def close(self):
        if os.getpid() != self.process:
            return
        with self.changed:
            self.not_in_use()
            refused, self.refuses = self.refuses, True
            try:
                while self.calls:
                    self.changed.wait()
            except BaseException:  # an interrupt: there is a next time
                self.refuses = refused
                raise
            handle, self.handle = self.handle, None
            if handle is not None:
                self.lib.session_close(handle)

    def forget(self):
        """What becomes of a session that was dropped, or is left at the program's end."""
        if os.getpid() != self.process:
            return
        with self.changed:
            self.dropped = self.refuses = True
            if not self.steps:
                self.close()


class Session:
    """One model on one device; see `open`. Close it (or use `with`) when all steps have ended."""

    def __init__(self, native):
        self._native, self._steps = native, weakref.WeakSet()
        self._finalizer = weakref.finalize(self, native.forget)
        self.layers = {}  # by number
        with native.using() as handle:
            for index in range(native.lib.session_num_layers(handle)):
                raw = _library.Layer()
                native.lib.session_layer(handle, index, raw)
                self.layers[raw.number] = Layer(raw)

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        if kind is not None:  # what is under way is what the caller must hear of, not of steps that it has left
            self._end_steps()
        self.close()

    def _end_steps(self):
        native = self._native
        with native.changed:
            native.refuses = True
        while True:
            with native.changed:
                if not native.steps:
                    return
                steps = list(self._steps)
                if not steps:  # one that is just beginning
                    native.changed.wait(0.01)
            for step in steps:
                step.end()

    def close(self):
        """Stops the loop, and lets go of everything. A second time does nothing. Error: steps have not ended.

        On a GPU graphs that have captured steps must be gone before the session is closed, or dropped.
        """
        self._native.close()

    def step(self, tokens, *, prefill=False, stream=None, generation=None):
        """Begins a step of `tokens` tokens on the live generation, or on `generation`.

        stream  on a GPU: a cudaStream_t as an integer, torch.cuda.current_stream().cuda_stream. While it is captured the step
                belongs to the graph, and so does its generation: see runtime/c/moec.h. The session must outlive the graph
        """
        return Step(self, tokens, prefill, stream, generation)

    def finish(self):
        """Waits until the device is done with all steps."""
        with self._native.using() as handle:
            self._native.lib.session_finish(handle)

    def stats(self):
        """Counted since the session was opened, as runtime/c/moec.h has it: {"forwards": 100, ...}."""
        raw = _library.SessionStats()
        with self._native.using() as handle:
            self._native.lib.session_stats(handle, raw)
        return _fields(raw)

    def start_loop(self, *, trace=None, window_steps=0, manual=False):
        """Watches routing and recompiles in the background. `trace`: a file for moec-trace. On a CPU not while a step is in flight."""
        options = _library.LoopOptions(windowSteps=_u32(window_steps, "window_steps"), manual=manual, trace=_bytes(trace))
        with self._native.at_rest() as handle:
            self._native.lib.loop_start(handle, options)

    def request_change(self):
        """Asks the loop for the best change that gains more than its margin: what a manual loop waits for."""
        with self._native.using() as handle:
            self._native.lib.loop_request(handle)

    def loop_stats(self):
        """{"changes": 1, "kept": 1, "rolledBack": 0, ...}"""
        raw = _library.LoopStats()
        with self._native.using() as handle:
            self._native.lib.loop_stats(handle, raw)
        return _fields(raw)

    def stop_loop(self):
        """On a CPU not while a step is in flight. Error: lines of the trace were lost; it has stopped all the same."""
        with self._native.at_rest() as handle:
            self._native.lib.loop_stop(handle)


class Step:
    """A pinned generation; ends with its `with` block."""

    def __init__(self, session, tokens, prefill, stream, generation):
        self._session, self._native, self._tokens, self._memory = session, session._native, _u32(tokens, "tokens"), _library.StepMemory()
        options = _library.StepOptions(tokens=tokens, prefill=prefill, stream=stream, onGeneration=generation is not None,
                                       generation=generation or 0)
        self._busy = threading.RLock()  # held in calls, so that whoever ends the step waits for them
        with self._native.using(is_step=True) as handle:
            self._native.lib.step_begin(handle, options, self._memory)
        self._finalizer = weakref.finalize(self, self._native.end, self._memory, self._busy)
        with self._native.changed:
            session._steps.add(self)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.end()

    def _layer(self, number):
        if number not in self._session.layers:
            raise MoecError("not-found", f"layer {number} is not open")
        return self._session.layers[number]

    @property
    def generation(self):
        """The generation that it runs on; 0 once it has ended."""
        return self._native.lib.step_generation(self._memory)

    def forward(self, layer, hidden, output, *, ids=None, weights=None):
        """Runs layer `layer`'s router and experts: `output` [tokens, H] is written; returns it.

        hidden, output  of the layer's dtype: torch's tensors, numpy's arrays or any buffer (bfloat16: 16-bit integers)
        ids, weights    int32 and float32 [tokens, K]: the caller's routing instead of the router's; -1 is padding

        On a GPU the stream is queued with it: until that is done there all four must stay where and what they are (of torch's:
        keep a reference, or record_stream where they were made on another stream).
        """
        shape, device = self._layer(layer), self._native.device
        given, keep_hidden = _tensors.matrix(hidden, "hidden", shape, device)
        written, keep_output = _tensors.matrix(output, "output", shape, device, writable=True)
        pointers = (None, None)
        if ids is not None or weights is not None:
            *pointers, keep_ids, keep_weights = _tensors.routing(ids, weights, self._tokens, shape.top_k, device)
        with self._busy:
            self._native.lib.step_forward(self._memory, layer, given, *pointers, written)
        return output

    def route(self, layer, hidden, ids, weights):
        """The router alone, on a CPU: writes ids (int32) and weights (float32) [tokens, K], best expert first."""
        shape, device = self._layer(layer), self._native.device
        given, keep_hidden = _tensors.matrix(hidden, "hidden", shape, device)
        *pointers, keep_ids, keep_weights = _tensors.routing(ids, weights, self._tokens, shape.top_k, device, writable=True)
        with self._busy:
            self._native.lib.step_route(self._memory, layer, given, *pointers)

    def end(self):
        """A second time does nothing."""
        self._finalizer()
