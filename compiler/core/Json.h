// Reading JSON that somebody else wrote: nothing throws, and every error names the path of the
// value.
#pragma once

#include "compiler/core/Status.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace moec {

class JsonDocument;

/// One value of a document, and its path, e.g. "layers[3].pairs".
///
/// Reads are checked. The first one that fails becomes the document's error; that read and all
/// later ones give zeros, empty texts and empty arrays. So a reader reads everything and asks for
/// the error once, at the end. Cheap to copy; must not outlive its document.
class JsonValue {
public:
  /// A key that must be there. Error: missing, or this is not an object.
  JsonValue operator[](const char *key) const;
  bool has(const char *key) const;
  bool isNull() const;
  /// Elements of an array. Error: this is not an array.
  size_t size() const;
  /// Element `index` of an array; `index < size()`.
  JsonValue at(size_t index) const;
  /// Keys of an object, sorted. Error: this is not an object.
  std::vector<std::string> keys() const;
  /// Error: a key that is none of these (so that a misspelt optional key is not silently ignored).
  void onlyKeys(std::initializer_list<const char *> known) const;

  uint64_t integer(uint64_t least, uint64_t most) const;
  int64_t signedInteger(int64_t least, int64_t most) const;
  /// A finite number from `least` to `most`; written as an integer or not.
  double number(double least = -std::numeric_limits<double>::max(),
                double most = std::numeric_limits<double>::max()) const;
  bool flag() const;
  std::string text() const;
  /// An array of integers from 0 to T's largest, or to `most`.
  template <typename T> std::vector<T> integers(uint64_t most = std::numeric_limits<T>::max()) const;

  /// Checks `schema` and `schema_version` of this object. Error: another schema, or another
  /// version.
  void requireSchema(const char *name, uint64_t version) const;
  /// Makes "path: <what>" the document's error, unless it has one. Bytes that are not printable ASCII become \xNN, and
  /// what is longer than 1,000 bytes is cut: `what` may quote the text.
  void fail(const std::string &what) const;
  /// As fail("expected <what>, found <the value>"); a long value is cut.
  void expected(const std::string &what) const;

private:
  friend class JsonDocument;
  JsonValue(const nlohmann::json *value, std::string path, Status *error)
      : value(value), path(std::move(path)), error(error) {}
  bool isArray() const;

  const nlohmann::json *value; // null after a failed read
  std::string path;            // empty at the root
  Status *error;
};

/// A parsed text. Movable; JsonValues point into it.
class JsonDocument {
public:
  /// `what` begins every message, e.g. "profile". Errors: `code`, for text that is not JSON (with
  /// the offset), that has a key twice in one object (JSON readers differ in which one they take)
  /// or that nests deeper than 64.
  static Result<JsonDocument> parse(const std::string &text, const char *what, Code code);
  JsonDocument(JsonDocument &&) noexcept;
  JsonDocument &operator=(JsonDocument &&) noexcept;
  ~JsonDocument();

  JsonValue root() const { return {parsed.get(), "", error.get()}; }
  /// The first error of a read, as "what: path: message"; ok if every read was.
  Status status() const;

private:
  JsonDocument();

  std::unique_ptr<nlohmann::json> parsed;
  std::unique_ptr<Status> error;
  std::string what;
  Code code = Code::InvalidArgument;
};

} // namespace moec
