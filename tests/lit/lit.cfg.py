# How lit runs the files of this folder; the paths come from lit.site.cfg.py, which CMake writes.
import os

import lit.formats

config.name = "moec"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir"]
config.test_source_root = os.path.dirname(__file__)
config.excludes = ["Inputs"]

for folder in (config.moec_bin, config.llvm_bin):
    config.environment["PATH"] = os.pathsep.join((folder, config.environment["PATH"]))
