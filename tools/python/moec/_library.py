"""libmoec.so by ctypes: the structs and functions of runtime/c/moec.h, as they stand there."""

import ctypes
import ctypes.util
import pathlib
from ctypes import POINTER, Structure, c_char_p, c_int32, c_int64, c_uint32, c_uint64, c_void_p

API_VERSION = 1
CODES = ("ok", "failure", "invalid-argument", "invalid-model", "compile-failed", "device-missing", "cache-corrupt",
         "verification-mismatch", "peer-failed", "compile-forbidden", "resource-exhausted", "not-found", "cancelled", "device-lost")


class Sized(Structure):
    """A struct whose first field is its size."""

    def __init__(self, **fields):
        super().__init__(ctypes.sizeof(type(self)), **fields)


class ModelOptions(Sized):
    _fields_ = [("size", c_uint32), ("layers", c_uint32), ("environment", c_int32), ("cacheOnly", c_int32), ("plainWeights", c_int32),
                ("reserved", c_int32), ("cacheFolder", c_char_p), ("compilerLibrary", c_char_p)]


class SessionOptions(Sized):
    _fields_ = [("size", c_uint32), ("maxTokens", c_uint32), ("maxSteps", c_uint32), ("threads", c_uint32),
                ("plannedTokens", c_uint32), ("maxGraphs", c_uint32), ("maxGraphTokens", c_uint32), ("mode", c_int32),
                ("calibration", c_int32), ("failOnNonFinite", c_int32), ("numLayers", c_uint32), ("reserved", c_uint32),
                ("layers", POINTER(c_uint32)), ("device", c_char_p), ("weights", c_char_p), ("packBudget", c_char_p)]


class Layer(Sized):
    _fields_ = [(name, c_uint32) for name in ("size", "number", "hidden", "intermediate", "experts", "topK")] + [
        ("dtype", c_int32), ("reserved", c_uint32)]


class SessionStats(Sized):
    _fields_ = [("size", c_uint32), ("reserved", c_uint32), ("liveGeneration", c_uint64), ("alternateGeneration", c_int64)] + [
        (name, c_uint64) for name in ("forwards", "timedForwards", "forwardNs", "monitorNs", "spilledPairs",
                                      "nonFiniteLogits", "lostSamples")]


class Tensor(Structure):
    _fields_ = [("data", c_void_p), ("dtype", c_int32), ("reserved", c_int32), ("rows", c_int64), ("columns", c_int64)]


class StepOptions(Sized):
    _fields_ = [("size", c_uint32), ("tokens", c_uint32), ("prefill", c_int32), ("onGeneration", c_int32), ("stream", c_void_p),
                ("generation", c_uint64)]


class StepMemory(Structure):
    _fields_ = [("opaque", c_uint64 * 12)]


class LoopOptions(Sized):
    _fields_ = [("size", c_uint32), ("windowSteps", c_uint32), ("manual", c_int32), ("reserved", c_int32), ("trace", c_char_p)]


class LoopStats(Sized):
    _fields_ = [("size", c_uint32), ("reserved", c_uint32)] + [
        (name, c_uint64) for name in ("samples", "skippedSamples", "windows", "decisions", "changes", "kept", "rolledBack",
                                      "failedBuilds", "droppedTraceLines", "liveGeneration")] + [("pendingAgeNs", c_int64)]


# name: (result, arguments). A result of None is a MoecCode.
_FUNCTIONS = {
    "moec_api_version": (c_uint32, []),
    "moec_version": (c_char_p, []),
    "moec_last_error": (c_char_p, []),
    "moec_model_load": (None, [c_char_p, POINTER(ModelOptions), POINTER(c_void_p)]),
    "moec_session_open": (None, [c_void_p, POINTER(SessionOptions), POINTER(c_void_p)]),
    "moec_session_num_layers": (c_uint32, [c_void_p]),
    "moec_session_layer": (None, [c_void_p, c_uint32, POINTER(Layer)]),
    "moec_session_stats": (None, [c_void_p, POINTER(SessionStats)]),
    "moec_step_begin": (None, [c_void_p, POINTER(StepOptions), POINTER(StepMemory)]),
    "moec_step_forward": (None, [POINTER(StepMemory), c_uint32, POINTER(Tensor), c_void_p, c_void_p, POINTER(Tensor)]),
    "moec_step_route": (None, [POINTER(StepMemory), c_uint32, POINTER(Tensor), c_void_p, c_void_p]),
    "moec_step_generation": (c_uint64, [POINTER(StepMemory)]),
    "moec_loop_start": (None, [c_void_p, POINTER(LoopOptions)]),
    "moec_loop_request": (None, [c_void_p]),
    "moec_loop_stats": (None, [c_void_p, POINTER(LoopStats)]),
    "moec_loop_stop": (None, [c_void_p]),
}
_PROCEDURES = {
    "moec_model_release": [c_void_p],
    "moec_session_close": [c_void_p],
    "moec_session_finish": [c_void_p],
    "moec_step_end": [POINTER(StepMemory)],
}


class MoecError(RuntimeError):
    """A call failed. `code` is the kind, as moec-trace and exit codes name it: "invalid-model"."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def _find():
    folders = pathlib.Path(__file__).resolve().parents
    for level, name in ((2, "libmoec.so"), (3, "build/release/lib/libmoec.so")):  # installed; in a checkout
        if level < len(folders) and (folders[level] / name).exists():
            return str(folders[level] / name)
    return ctypes.util.find_library("moec") or "libmoec.so"


class Library:
    """The functions as methods, without their prefix. A failing one raises MoecError."""

    def __init__(self, path=None):
        path = str(path or _find())
        try:
            self._library = ctypes.CDLL(path)
        except OSError as error:
            raise MoecError("device-missing", f"libmoec cannot be opened: {error}") from None
        if not hasattr(self._library, "moec_api_version") or self._library.moec_api_version() < API_VERSION:
            raise MoecError("device-missing", f"{path} has not version {API_VERSION} of the C API, which this needs")
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = c_int32 if result is None else result, arguments
            setattr(self, name.removeprefix("moec_"), self._checked(function) if result is None else function)
        for name, arguments in _PROCEDURES.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = None, arguments
            setattr(self, name.removeprefix("moec_"), function)

    def _checked(self, function):
        def call(*arguments):
            code = function(*arguments)
            if code != 0:
                raise MoecError(CODES[code] if code < len(CODES) else "unknown", self.last_error().decode(errors="replace"))
        return call
