"""What a caller's tensor is: torch's, or whatever has Python's buffer protocol (numpy's arrays, array.array)."""

import ctypes

from ._library import MoecError, Tensor

_DTYPES = {"float32": 0, "bfloat16": 1, "float16": 2, "f": 0, "e": 2}
_IDS = {"int32": "ids", "i": "ids"}
_WEIGHTS = {"float32": "weights", "f": "weights"}


def _wrong(name, what):
    return MoecError("invalid-argument", f"{name}: {what}")


class Memory:
    """Where a tensor's elements lie. Keeps what it must alive as long as it lives."""

    def __init__(self, tensor, name, device, writable=False):
        lies = tensor.device.type if hasattr(tensor, "data_ptr") else "cpu"
        if lies != device:
            raise _wrong(name, f"lies on {lies}, the session is on {device}")
        if hasattr(tensor, "data_ptr"):
            if not tensor.is_contiguous():
                raise _wrong(name, "not contiguous")
            self.pointer, self.shape, self.kind = tensor.data_ptr(), tuple(tensor.shape), str(tensor.dtype).rpartition(".")[2]
            self.owner = tensor
            return
        try:
            view = memoryview(tensor)
        except TypeError:
            raise _wrong(name, f"neither a torch tensor nor a buffer: {type(tensor).__name__}") from None
        if not view.c_contiguous:
            raise _wrong(name, "not contiguous")
        if writable and view.readonly:
            raise _wrong(name, "read-only")
        self.shape, self.kind, self.owner = tuple(view.shape), view.format, tensor
        if view.readonly:  # ctypes asks for a writable buffer: read through a copy
            self.owner = bytearray(view.cast("B"))
            view = memoryview(self.owner)
        flat = view.cast("B") if view.nbytes else view
        self.pointer = ctypes.addressof(ctypes.c_char.from_buffer(flat)) if view.nbytes else 0


def _count(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def matrix(tensor, name, columns, device, writable=False):
    """(Tensor, Memory) of [..., columns]; a flat buffer is taken for rows of so many columns."""
    memory = Memory(tensor, name, device, writable)
    if memory.kind not in _DTYPES:
        raise _wrong(name, f"its dtype {memory.kind} is none of float32, bfloat16, float16")
    count = _count(memory.shape)
    if count % columns or (len(memory.shape) > 1 and memory.shape[-1] != columns):
        raise _wrong(name, f"shape {list(memory.shape)}; the layer's hidden size is {columns}")
    return Tensor(memory.pointer, _DTYPES[memory.kind], 0, count // columns, columns), memory


def routing(ids, weights, pairs, device, writable=False):
    """(pointer, pointer, Memory, Memory) of `pairs` ids and weights."""
    memories = []
    for tensor, name, kinds in ((ids, "ids", _IDS), (weights, "weights", _WEIGHTS)):
        memory = Memory(tensor, name, device, writable)
        if memory.kind not in kinds:
            raise _wrong(name, f"its dtype {memory.kind} is not {next(iter(kinds))}")
        if _count(memory.shape) != pairs:
            raise _wrong(name, f"shape {list(memory.shape)}; the step has {pairs} pairs")
        memories.append(memory)
    return memories[0].pointer, memories[1].pointer, *memories
