#include "compiler/core/Status.h"

namespace moec {

const char *codeName(Code code) {
  switch (code) {
  case Code::Ok: return "ok";
  case Code::Failure: return "failure";
  case Code::InvalidArgument: return "invalid-argument";
  case Code::InvalidModel: return "invalid-model";
  case Code::CompileFailed: return "compile-failed";
  case Code::DeviceMissing: return "device-missing";
  case Code::CacheCorrupt: return "cache-corrupt";
  case Code::VerificationMismatch: return "verification-mismatch";
  case Code::PeerFailed: return "peer-failed";
  case Code::CompileForbidden: return "compile-forbidden";
  case Code::ResourceExhausted: return "resource-exhausted";
  case Code::NotFound: return "not-found";
  case Code::Cancelled: return "cancelled";
  case Code::DeviceLost: return "device-lost";
  }
  return "unknown";
}

int exitCode(Code code) {
  switch (code) {
  case Code::Ok: return 0;
  case Code::InvalidArgument: return 2;
  case Code::InvalidModel: return 3;
  case Code::CompileFailed: return 4;
  case Code::DeviceMissing:
  case Code::DeviceLost: return 5;
  case Code::CacheCorrupt: return 6;
  case Code::VerificationMismatch: return 7;
  case Code::PeerFailed: return 8;
  case Code::CompileForbidden: return 9;
  case Code::Failure:
  case Code::ResourceExhausted:
  case Code::NotFound:
  case Code::Cancelled: return 1;
  }
  return 1;
}

} // namespace moec
