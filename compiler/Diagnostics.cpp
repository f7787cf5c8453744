#include "compiler/Diagnostics.h"

#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace moec {

// One message is enough to act on; a broken model can produce thousands.
static constexpr size_t kMaxText = 16 * 1024;

DiagnosticLog::DiagnosticLog(MLIRContext &context)
    : handler(&context, [this](Diagnostic &diagnostic) {
        if (collected.size() > kMaxText)
          return success();
        llvm::raw_string_ostream stream(collected);
        if (!collected.empty())
          stream << "; ";
        if (auto location = dyn_cast<FileLineColLoc>(diagnostic.getLocation()))
          stream << "line " << location.getLine() << ": ";
        stream << diagnostic;
        for (Diagnostic &note : diagnostic.getNotes())
          stream << " (" << note << ")";
        return success();
      }) {}

} // namespace moec
