// What this build is: stamped into packages, traces and cache keys.
#pragma once

namespace moec {

/// "0.1.0+<build id>"; the build id changes with every commit that this was built from.
const char *versionText();

} // namespace moec
