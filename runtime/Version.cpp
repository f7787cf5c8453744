#include "runtime/Version.h"

#ifndef MOEC_VERSION_TEXT
#define MOEC_VERSION_TEXT "0.1.0"
#endif

namespace moec {

const char *versionText() { return MOEC_VERSION_TEXT; }

} // namespace moec
