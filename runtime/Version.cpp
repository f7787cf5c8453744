#include "runtime/Version.h"

#include "BuildId.h" // made by cmake/BuildId.cmake

namespace moec {

const char *versionText() { return MOEC_VERSION_TEXT; }

} // namespace moec
