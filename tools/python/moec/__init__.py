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
threads run. No dependencies; libmoec.so is found beside the installed package, in build/release of a checkout, or by the system's
loader (`moec.use` names another).
"""

import ctypes
import os

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
    numbers = None if layers is None else (ctypes.c_uint32 * len(layers))(*layers)
    lib.model_load(os.fsencode(model), _library.ModelOptions(environment=1, plainWeights=plain_weights, cacheOnly=cache_only,
                                                             cacheFolder=_bytes(cache), compilerLibrary=_bytes(compiler)),
                   ctypes.byref(handle))
    try:
        lib.session_open(handle, _library.SessionOptions(
            maxTokens=max_tokens, maxSteps=max_steps, threads=threads, plannedTokens=planned_tokens, maxGraphs=max_graphs,
            maxGraphTokens=max_graph_tokens, mode=modes.index(mode), calibration=calibrations.index(calibration),
            failOnNonFinite=fail_on_non_finite, numLayers=0 if layers is None else len(layers), layers=numbers,
            device=_bytes(device), weights=_bytes(weights), packBudget=_bytes(pack_budget)), ctypes.byref(session))
    finally:
        lib.model_release(handle)
    return Session(lib, session, "cuda" if device.startswith("cuda") else "cpu")


class Session:
    """One model on one device; see `open`. Close it (or use `with`) when all steps have ended."""

    def __init__(self, lib, handle, device):
        self._lib, self._handle, self._device = lib, handle, device
        self._steps = set()  # that have not ended
        self.layers = {}  # by number
        for index in range(lib.session_num_layers(handle)):
            raw = _library.Layer()
            lib.session_layer(handle, index, raw)
            self.layers[raw.number] = Layer(raw)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def _open(self):
        if self._handle is None:
            raise MoecError("invalid-argument", "the session is closed")
        return self._handle

    def close(self):
        """Stops the loop, and lets go of everything. A second time does nothing. Error: steps have not ended."""
        if self._steps:
            raise MoecError("invalid-argument", f"{len(self._steps)} steps have not ended")
        handle, self._handle = self._handle, None
        if handle is not None:
            self._lib.session_close(handle)

    def step(self, tokens, *, prefill=False, stream=None):
        """Begins a step of `tokens` tokens on the live generation; `stream`, on a GPU: a cudaStream_t as an integer."""
        return Step(self, tokens, prefill, stream)

    def finish(self):
        """Waits until the device is done with all steps."""
        self._lib.session_finish(self._open())

    def stats(self):
        """Counted since the session was opened, as runtime/c/moec.h has it: {"forwards": 100, ...}."""
        raw = _library.SessionStats()
        self._lib.session_stats(self._open(), raw)
        return _fields(raw)

    def start_loop(self, *, trace=None, window_steps=0, manual=False):
        """Watches routing and recompiles in the background. `trace`: a file for moec-trace. Not while a step is in flight."""
        self._lib.loop_start(self._open(), _library.LoopOptions(windowSteps=window_steps, manual=manual, trace=_bytes(trace)))

    def request_change(self):
        """Asks the loop for the best change that gains more than its margin: what a manual loop waits for."""
        self._lib.loop_request(self._open())

    def loop_stats(self):
        """{"changes": 1, "kept": 1, "rolledBack": 0, ...}"""
        raw = _library.LoopStats()
        self._lib.loop_stats(self._open(), raw)
        return _fields(raw)

    def stop_loop(self):
        """Not while a step is in flight."""
        self._lib.loop_stop(self._open())


class Step:
    """A pinned generation; ends with its `with` block."""

    def __init__(self, session, tokens, prefill, stream):
        self._session, self._tokens, self._memory = session, tokens, _library.StepMemory()
        options = _library.StepOptions(tokens=tokens, prefill=prefill, stream=stream)
        session._lib.step_begin(session._open(), options, self._memory)
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
        return self._session._lib.step_generation(self._memory)

    def forward(self, layer, hidden, output, *, ids=None, weights=None):
        """Runs layer `layer`'s router and experts: `output` [tokens, H] is written (on a GPU: queued); returns it.

        ids      int32 [tokens, K], weights float32 [tokens, K]: the caller's routing instead of the router's; -1 is padding
        """
        shape = self._layer(layer)
        hidden, keep_hidden = _tensors.matrix(hidden, "hidden", shape.hidden, self._session._device)
        written, keep_output = _tensors.matrix(output, "output", shape.hidden, self._session._device, writable=True)
        pointers = (None, None)
        if ids is not None or weights is not None:
            *pointers, keep_ids, keep_weights = _tensors.routing(ids, weights, self._tokens * shape.top_k, self._session._device)
        self._session._lib.step_forward(self._memory, layer, hidden, *pointers, written)
        return output

    def route(self, layer, hidden, ids, weights):
        """The router alone, on a CPU: writes ids (int32) and weights (float32) [tokens, K], best expert first."""
        shape = self._layer(layer)
        hidden, keep_hidden = _tensors.matrix(hidden, "hidden", shape.hidden, self._session._device)
        *pointers, keep_ids, keep_weights = _tensors.routing(ids, weights, self._tokens * shape.top_k, self._session._device, writable=True)
        self._session._lib.step_route(self._memory, layer, hidden, *pointers)

    def end(self):
        """A second time does nothing."""
        self._session._lib.step_end(self._memory)
        self._session._steps.discard(self)
