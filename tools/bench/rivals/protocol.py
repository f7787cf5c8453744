"""What a rival is. No torch here: the list of rivals, the table and their tests work in any Python."""

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from typing import Any, Callable


class Missing(Exception):
    """This Python cannot run the rival. The text is the line that says so."""


class UnknownInterface(Missing):
    """The package is here, but not what its adapter calls: most likely a version that is newer than the adapter."""

    def __init__(self, what):
        super().__init__(f"present, but its interface is not known: {what}")


def why(error, most=140):
    """An exception as one short line."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:most]}" if text else type(error).__name__


def need(module):
    """Imports `module`, or raises Missing with the reason."""
    package = module.split(".")[0]
    try:
        if package not in sys.modules and importlib.util.find_spec(package) is None:
            raise Missing(f"missing: no module {package}")
        return importlib.import_module(module)
    except Missing:
        raise
    except ModuleNotFoundError as error:
        if error.name and (error.name == module or module.startswith(f"{error.name}.")):
            raise UnknownInterface(f"no {error.name}") from None
        raise Missing(f"present, but it does not import: {why(error)}") from None
    except Exception as error:  # a broken install raises anything
        raise Missing(f"present, but it does not import: {why(error)}") from None


def need_function(module, name, *parameters):
    """`module.name`, which must take these parameters by name (a compiled function does not say, and is believed)."""
    function = getattr(need(module), name, None)
    if function is None:
        raise UnknownInterface(f"no {module}.{name}")
    absent = [parameter for parameter in parameters if not takes(function, parameter)]
    if absent:
        raise UnknownInterface(f"{module}.{name} takes no {', '.join(absent)}")
    return function


def takes(function, parameter):
    """Whether `function` has a parameter of this name; true where it does not say."""
    try:
        return parameter in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return True


@dataclasses.dataclass(frozen=True)
class Problem:
    tokens: int
    rows: float  # pairs of an expert that has any, on average


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way of a rival to run the layer; its best one counts."""

    label: str
    run: Callable[..., Any]  # (x [T, H] bf16, ids [T, K] i32, weights [T, K] f32, prepared) -> [T, H]
    # What a user would have before the layer's inputs arrive (dense router scores, constant indices, tuned tactics). Not timed.
    prepare: Callable[..., Any] = lambda ids, weights: None
    takes: Callable[[Problem], bool] = lambda problem: True
    captures: bool = True  # false: it waits for the GPU or uses a stream of its own, so no CUDA graph can hold it


class Rival:
    """A project, or a way to compose one's functions. One adapter a file, which imports torch only where it needs it.

    `name` heads its column. `package` is what it imports, `distributions` what pip calls it. `known` says which versions the
    adapter was written against, and which of them it was run with.
    """

    name = package = known = ""
    distributions = ()

    def check(self):
        """Raises Missing unless this Python has it with the interface that the adapter calls."""
        raise NotImplementedError

    def build(self, layer):
        """The layer's variants; `layer` has w13 [E, 2I, H] (gate, then up), w2 [E, H, I] in bf16, and the sizes. For rivals in e4m3
        they are e4m3, and it has their scales s13 [E, 2I / 128, H / 128] and s2 [E, H / 128, I / 128] in f32."""
        raise NotImplementedError

    def available(self):
        """None, or the line that says why not."""
        try:
            self.check()
        except Missing as reason:
            return str(reason)
        except Exception as error:
            return f"present, but it does not start: {why(error)}"
        return None

    def version(self):
        for distribution in self.distributions or (self.package,):
            try:
                return importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                pass
        return str(getattr(importlib.import_module(self.package), "__version__", "of unknown version"))


def need_hopper():
    import torch

    capability = torch.cuda.get_device_capability()
    if capability < (9, 0):
        raise Missing(f"needs compute capability 9.0 or newer; this GPU has {capability[0]}.{capability[1]}")
