// Writes a model description in the `moe` dialect, phase `input`.
#pragma once

#include "compiler/import/ModelSpec.h"

#include <string>
#include <string_view>

namespace moec::importer {

/// A module with one function per layer of `spec`. `name` may hold any bytes.
std::string modelText(const ModelSpec &spec, std::string_view name);

/// `text` as an MLIR string without its quotes: printable ASCII stays, quotes, backslashes and all
/// else become \XX.
std::string escapedString(std::string_view text);

/// The shortest MLIR float literal that reads back as `value`, which is finite. MLIR wants a dot:
/// "1.0e-20", not "1e-20".
std::string floatLiteral(double value);

} // namespace moec::importer
