// What the readers of JSON headers here share: SAX events, errors as values. Included by .cpp files only.
#pragma once

#include "compiler/core/Status.h"

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>
#include <utility>

namespace moec {

/// SAX events, folded into those that our formats tell apart. A DOM would keep one of two equal keys and hide
/// the other; these events show both.
///
/// A handler returns true to go on, or `fail(...)` to stop. The parser does not recurse, so nesting costs a bit
/// of heap a level, not stack.
class JsonEvents : public nlohmann::json_sax<nlohmann::json> {
public:
  /// Parses all of `text`. `what` names it in the error for text that is not JSON.
  Status parse(std::string_view text, std::string_view what) {
    error = Status();
    subject = what;
    nlohmann::json_sax<nlohmann::json> *events = this; // the overrides themselves are private
    nlohmann::json::sax_parse(text.begin(), text.end(), events);
    return error;
  }

protected:
  virtual bool onString(std::string &value) = 0;
  virtual bool onUnsigned(uint64_t value) = 0;
  /// A value of a kind that none of our formats holds where its content matters: "null", "a boolean", "a
  /// negative number" or "a fraction".
  virtual bool onOther(const char *kind) = 0;
  virtual bool onKey(std::string &name) = 0;
  virtual bool onStart(bool object) = 0;
  virtual bool onEnd() = 0;

  bool fail(Status status) {
    error = std::move(status);
    return false;
  }

private:
  bool null() final { return onOther("null"); }
  bool boolean(bool) final { return onOther("a boolean"); }
  bool number_integer(number_integer_t value) final {
    return value < 0 ? onOther("a negative number") : onUnsigned(static_cast<uint64_t>(value));
  }
  bool number_unsigned(number_unsigned_t value) final { return onUnsigned(value); }
  bool number_float(number_float_t, const string_t &) final { return onOther("a fraction"); }
  bool string(string_t &value) final { return onString(value); }
  bool binary(binary_t &) final { return onOther("binary data"); }
  bool start_object(std::size_t) final { return onStart(true); }
  bool key(string_t &name) final { return onKey(name); }
  bool end_object() final { return onEnd(); }
  bool start_array(std::size_t) final { return onStart(false); }
  bool end_array() final { return onEnd(); }
  // The library's text quotes the last token whole, and that can be megabytes; the position says enough.
  bool parse_error(std::size_t position, const std::string &, const nlohmann::json::exception &) final {
    return fail(makeError(Code::InvalidModel, "{} is not valid JSON at byte {}", subject, position));
  }

  Status error;
  std::string_view subject;
};

} // namespace moec
