"""What a caller's tensor is: torch's, or whatever has Python's buffer protocol (numpy's arrays, array.array, ctypes' arrays)."""

import ctypes
import math

from ._library import MoecError, Tensor

# torch's names and the buffer protocol's formats. Python has none for bfloat16: 16-bit integers stand for their bits.
_DTYPES = {"float32": "float32", "f": "float32", "float16": "float16", "e": "float16", "bfloat16": "bfloat16", "H": "bfloat16"}
_CODES = ("float32", "bfloat16", "float16")
_IDS, _WEIGHTS = {"int32": "int32", "i": "int32"}, {"float32": "float32", "f": "float32"}


def _wrong(name, what):
    return MoecError("invalid-argument", f"{name}: {what}")


class Memory:
    """Where a tensor's elements lie: pointer, shape, kind. They stay there as long as this lives."""

    def __init__(self, tensor, name, device, writable=False):
        if hasattr(tensor, "data_ptr"):
            self._of_torch(tensor, name, device)
        elif device != ("cpu", 0):
            raise _wrong(name, f"lies on cpu, the session is on {_device_name(device)}")
        else:
            self._of_buffer(tensor, name, writable)

    def _of_torch(self, tensor, name, device):
        lies = tensor.device.type, tensor.device.index or 0
        if lies != device:
            raise _wrong(name, f"lies on {_device_name(lies)}, the session is on {_device_name(device)}")
        if not tensor.is_contiguous():
            raise _wrong(name, "not contiguous")
        self.pointer, self.shape, self.kind = tensor.data_ptr(), tuple(tensor.shape), str(tensor.dtype).rpartition(".")[2]
        self.owner = tensor

    def _of_buffer(self, tensor, name, writable):
        try:
            view = memoryview(tensor)
        except (TypeError, ValueError, BufferError) as error:
            raise _wrong(name, f"neither a torch tensor nor a buffer with a known element: {type(tensor).__name__}, {error}") from None
        if not view.c_contiguous:
            raise _wrong(name, "not contiguous")
        if writable and view.readonly:
            raise _wrong(name, "read-only")
        self.shape, self.kind, self.pointer = tuple(view.shape), view.format.lstrip("<=@"), 0
        if view.nbytes:
            if view.readonly:  # ctypes asks for a writable buffer: read through a copy
                view = memoryview(bytearray(view.cast("B")))
            self.pointer = ctypes.addressof(ctypes.c_char.from_buffer(view.cast("B")))
        self.owner = view  # nobody can resize what a view is held of


def _device_name(device):
    return device[0] if device[0] == "cpu" else f"{device[0]}:{device[1]}"


def matrix(tensor, name, layer, device, writable=False):
    """(Tensor, Memory) of [..., H]; a flat buffer is taken for rows of H."""
    memory = Memory(tensor, name, device, writable)
    dtype = _DTYPES.get(memory.kind)
    if dtype != layer.dtype:
        raise _wrong(name, f"its dtype is {memory.kind}, the layer's {layer.dtype}")
    count = math.prod(memory.shape)
    if count % layer.hidden or (len(memory.shape) > 1 and memory.shape[-1] != layer.hidden):
        raise _wrong(name, f"shape {list(memory.shape)}; the layer's hidden size is {layer.hidden}")
    return Tensor(memory.pointer, _CODES.index(dtype), 0, count // layer.hidden, layer.hidden), memory


def routing(ids, weights, tokens, top_k, device, writable=False):
    """(pointer, pointer, Memory, Memory) of [tokens, K] ids and weights; flat buffers are taken for that."""
    memories = []
    for tensor, name, kinds in ((ids, "ids", _IDS), (weights, "weights", _WEIGHTS)):
        memory = Memory(tensor, name, device, writable)
        if memory.kind not in kinds:
            raise _wrong(name, f"its dtype is {memory.kind}, not {next(iter(kinds))}")
        if math.prod(memory.shape) != tokens * top_k or (len(memory.shape) > 1 and memory.shape[-1] != top_k):
            raise _wrong(name, f"shape {list(memory.shape)}; the step has {tokens} tokens of {top_k} experts")
        memories.append(memory)
    return memories[0].pointer, memories[1].pointer, *memories
