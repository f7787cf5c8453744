"""Who may include whom: the folder rules of docs/architecture.md, section 3, read from the #include lines."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
CORE = ["compiler/core", "compiler/kernels/KernelAbi.h", "compiler/kernels/Fp8Abi.h", "compiler/kernels/DownFewAbi.h", "compiler/kernels/GateUpFewAbi.h"]  # the leaf, and what its GPU part shares with NVRTC (section 14)
MLIR = ["mlir", "llvm"]

# The first folder here that a file lies in says what it may include; what it names nowhere is a system's or a small library's.
RULES = {
    "compiler/core": CORE,
    "compiler/kernels": ["compiler/kernels"],  # all that NVRTC can be given
    "compiler/import": ["compiler/import", *CORE],
    "compiler/jit": ["compiler/jit", *CORE],
    "compiler/codegen/cpu": ["compiler/codegen/cpu", "passes", "ir", *CORE, *MLIR, "lld"],
    "compiler": ["compiler", "passes", "ir", *CORE, *MLIR],
    "passes": ["passes", "ir", *CORE, *MLIR],
    "ir": ["ir", *CORE, *MLIR],
    "runtime/device/cuda/Api.h": ["runtime", *CORE, "cuda.h"],  # the one place that knows the driver
    "runtime": ["runtime", "BuildId.h", *CORE],
    "tools/moec-opt": ["passes", "ir", *MLIR],
    "tools/moec-trace": ["tools/moec-trace", "tools/common", "runtime/trace", "runtime/recompile", "runtime/Version.h", *CORE],
    "tools/bench/gpu": ["tools/bench/gpu", "compiler/jit", "runtime", "cuda.h", "nvrtc.h", *CORE],
    "tools": ["tools", "runtime", *CORE],
}
GUARDED = ["compiler", "passes", "ir", "runtime", "tools", "tests", "mlir", "llvm", "lld", "clang", "cuda.h", "cuda_runtime.h", "nvrtc.h",
           "nccl.h", "BuildId.h"]
# The planner is a pure function: neither a clock nor the environment is in reach of it.
IMPURE = re.compile(r"\bgetenv\b|<chrono>|\b(steady|system)_clock\b|<ctime>|<random>")


def inside(path, folder):
    return path == folder or path.startswith(folder + "/")


def refusal(file, included):
    """Why `file` may not include `included`, or None."""
    rule = next(folder for folder in RULES if inside(file, folder))
    allowed = any(inside(included, folder) for folder in RULES[rule])
    return f"{file}: {rule} may not include {included}" if not allowed and any(inside(included, g) for g in GUARDED) else None


def main():
    # The rules can say no.
    for file, included in (("compiler/core/Plan.cpp", "mlir/IR/Builders.h"), ("compiler/core/Plan.cpp", "runtime/Step.h"),
                           ("passes/X.cpp", "compiler/Compile.h"), ("runtime/X.cpp", "compiler/Compile.h"), ("ir/X.h", "passes/Passes.h"),
                           ("runtime/X.cpp", "cuda.h"), ("tools/moec/X.cpp", "ir/Moe.h"), ("runtime/X.cpp", "compiler/kernels/dispatch.cuh")):
        assert refusal(file, included), (file, included)
    wrong, seen = [], 0
    for top in ("ir", "passes", "compiler", "runtime", "tools"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix not in (".h", ".cpp", ".cuh", ".td"):
                continue
            file, text = path.relative_to(ROOT).as_posix(), path.read_text()
            for match in re.finditer(r'^\s*#?\s*include\s+["<]([^">]+)[">]', text, re.MULTILINE):
                seen += 1
                wrong += filter(None, [refusal(file, match[1])])
            if inside(file, "compiler/core") and (found := IMPURE.search(text)):
                wrong.append(f"{file}: compiler/core knows no clock, environment or chance: {found[0]}")
    print("\n".join(wrong) or f"{seen} includes keep to the folders' rules")
    return 1 if wrong or seen < 1000 else 0


if __name__ == "__main__":
    sys.exit(main())
