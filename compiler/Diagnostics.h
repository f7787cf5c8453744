// Collects MLIR's diagnostics as text, so that they become part of a Status.
#pragma once

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"

#include <string>

namespace moec {

/// While it lives, every error and warning of the context goes here and nowhere else.
class DiagnosticLog {
public:
  explicit DiagnosticLog(mlir::MLIRContext &context);
  const std::string &text() const { return collected; }

private:
  std::string collected;
  mlir::ScopedDiagnosticHandler handler;
};

} // namespace moec
