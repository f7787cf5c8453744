#include "runtime/weights/SafetensorsHeader.h"
#include "tests/unit/Catch.h"

using namespace moec;

namespace {

/// The error that a header gets; fails the test if it gets none or one of another kind.
std::string errorOf(std::string_view json, uint64_t dataBytes) {
  Result<SafetensorsHeader> header = parseSafetensorsHeader(json, dataBytes, "w.safetensors");
  REQUIRE_FALSE(header);
  CHECK(header.status().code() == Code::InvalidModel);
  return header.status().message();
}

/// A tensor's error names the file, the tensor and the rule.
void checkTensorError(std::string_view json, uint64_t dataBytes, const std::string &rule, const std::string &why) {
  std::string error = errorOf(json, dataBytes);
  CHECK_THAT(error, Catch::Matchers::StartsWith("'w.safetensors': tensor 'a': (" + rule + ")"));
  CHECK_THAT(error, Catch::Matchers::Contains(why));
}

void checkHeaderError(std::string_view json, const std::string &rule, const std::string &why) {
  std::string error = errorOf(json, 0);
  CHECK_THAT(error, Catch::Matchers::StartsWith("'w.safetensors': "));
  CHECK_THAT(error, Catch::Matchers::Contains("(" + rule + ") "));
  CHECK_THAT(error, Catch::Matchers::Contains(why));
}

std::string lengthError(std::vector<unsigned> bytes, uint64_t fileBytes) {
  std::vector<std::byte> start;
  for (unsigned byte : bytes)
    start.push_back(static_cast<std::byte>(byte));
  Result<uint64_t> length = parseHeaderLength(start, fileBytes, "w.safetensors");
  REQUIRE_FALSE(length);
  CHECK_THAT(length.status().message(), Catch::Matchers::StartsWith("'w.safetensors': (S1) "));
  return length.status().message();
}

} // namespace

TEST_CASE("a header with every legal oddity is read", "[weights][safetensors]") {
  // Not in order of offset, an empty tensor between two others, rank 0, escaped names, metadata, padding.
  auto header = parseSafetensorsHeader(
      R"({"b":{"dtype":"F32","shape":[2,3],"data_offsets":[2,26]},"__metadata__":{"format":"pt"},)"
      R"("sc\u0061lar":{"data_offsets":[0,2],"shape":[],"dtype":"BF16"},)"
      R"("empty":{"dtype":"F16","shape":[0,7],"data_offsets":[2,2]}}   )",
      26, "w.safetensors");
  REQUIRE(header);
  CHECK(header->metadata.at("format") == "pt");
  REQUIRE(header->tensors.size() == 3);
  CHECK(header->tensors.at("b").shape == std::vector<int64_t>{2, 3});
  CHECK(header->tensors.at("b").begin == 2);
  CHECK(header->tensors.at("b").end == 26);
  CHECK(header->tensors.at("scalar").type == TensorType::BF16);
  CHECK(header->tensors.at("scalar").shape.empty());
  CHECK(header->tensors.at("empty").shape == std::vector<int64_t>{0, 7});
}

TEST_CASE("a file without tensors is legal", "[weights][safetensors]") {
  CHECK(parseSafetensorsHeader("{}", 0, "w.safetensors"));
}

TEST_CASE("a known dtype that is not computed with is read, sub-byte ones too", "[weights][safetensors]") {
  auto header = parseSafetensorsHeader(R"({"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]},)"
                                       R"("b":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[2,5]}})",
                                       5, "w.safetensors");
  REQUIRE(header);
  CHECK(header->tensors.at("a").type == TensorType::F4);
  CHECK_FALSE(computeType(header->tensors.at("b").type));
}

TEST_CASE("S1: a file too short for a length is refused", "[weights][safetensors]") {
  CHECK_THAT(lengthError({2, 0, 0}, 3), Catch::Matchers::Contains("has 3 bytes, too few"));
}

TEST_CASE("S1: a header length above 100,000,000 is refused, and the limit itself is not", "[weights][safetensors]") {
  // 100,000,001 = 0x05f5e101
  CHECK_THAT(lengthError({1, 0xe1, 0xf5, 5, 0, 0, 0, 0}, uint64_t(1) << 40),
             Catch::Matchers::Contains("claims 100000001 bytes"));
  const std::byte limit[8] = {std::byte(0), std::byte(0xe1), std::byte(0xf5), std::byte(5)};
  Result<uint64_t> length = parseHeaderLength(limit, uint64_t(1) << 40, "w.safetensors");
  REQUIRE(length);
  CHECK(*length == maxSafetensorsHeader);
}

TEST_CASE("S1: a header length past the end of the file is refused", "[weights][safetensors]") {
  CHECK_THAT(lengthError({3, 0, 0, 0, 0, 0, 0, 0}, 10), Catch::Matchers::Contains("only 2 follow"));
}

TEST_CASE("S2: text that is not one JSON object is refused", "[weights][safetensors]") {
  checkHeaderError("", "S2", "does not begin with '{'");
  checkHeaderError(" {}", "S2", "does not begin with '{'");
  checkHeaderError("[]", "S2", "does not begin with '{'");
  checkHeaderError("{}\n", "S2", "followed by something other than spaces");
  checkHeaderError("{} {}", "S2", "not valid JSON at byte 4");
  checkHeaderError(R"({"a":})", "S2", "not valid JSON");
  checkHeaderError("{\"\xff\":{}}", "S2", "not valid JSON"); // not UTF-8
  checkHeaderError(R"({"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,0]}})", "S2", "not valid JSON");
}

TEST_CASE("S3: keys that occur twice are refused, however they are written", "[weights][safetensors]") {
  const std::string a = R"({"dtype":"F32","shape":[],"data_offsets":[0,4]})";
  checkTensorError(R"({"a":)" + a + R"(,"a":)" + a + "}", 4, "S3", "its name occurs twice");
  checkTensorError(R"({"a":)" + a + R"(,"\u0061":)" + a + "}", 4, "S3", "its name occurs twice");
  checkTensorError(R"({"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4, "S3",
                   "key 'dtype' occurs twice");
  checkTensorError(R"({"a":{"dtype":"F32","shape":[],"shape":[],"data_offsets":[0,4]}})", 4, "S3",
                   "key 'shape' occurs twice");
  checkTensorError(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"data_offsets":[0,4]}})", 4, "S3",
                   "key 'data_offsets' occurs twice");
  checkHeaderError(R"({"__metadata__":{},"__metadata__":{}})", "S3", "key '__metadata__' occurs twice");
  checkHeaderError(R"({"__metadata__":{"k":"1","k":"2"}})", "S3", "key 'k' occurs twice");
}

TEST_CASE("S4: metadata other than strings is refused", "[weights][safetensors]") {
  checkHeaderError(R"({"__metadata__":"pt"})", "S4", "is a string, not an object");
  checkHeaderError(R"({"__metadata__":[]})", "S4", "is an array, not an object");
  checkHeaderError(R"({"__metadata__":null})", "S4", "is null, not an object");
  checkHeaderError(R"({"__metadata__":{"k":1}})", "S4", "the value of 'k' is a number, not a string");
  checkHeaderError(R"({"__metadata__":{"k":{}}})", "S4", "the value of 'k' is an object, not a string");
}

TEST_CASE("S5: a tensor that is not described in full is refused", "[weights][safetensors]") {
  checkTensorError(R"({"a":3})", 0, "S5", "is a number, not an object");
  checkTensorError(R"({"a":[]})", 0, "S5", "is an array, not an object");
  checkTensorError(R"({"a":{"shape":[],"data_offsets":[0,4]}})", 4, "S5", "has no dtype");
  checkTensorError(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "S5", "has no shape");
  checkTensorError(R"({"a":{"dtype":"F32","shape":[]}})", 0, "S5", "has no data_offsets");
  checkTensorError(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":{}}})", 4, "S5", "unknown key 'x'");
}

TEST_CASE("S5: a field of another kind is refused", "[weights][safetensors]") {
  checkTensorError(R"({"a":{"dtype":"f32"}})", 0, "S5", "unknown dtype 'f32'");
  checkTensorError(R"({"a":{"dtype":3}})", 0, "S5", "dtype is a number, not a string");
  checkTensorError(R"({"a":{"shape":4}})", 0, "S5", "shape is a number, not an array");
  checkTensorError(R"({"a":{"shape":{}}})", 0, "S5", "shape is an object, not an array");
  checkTensorError(R"({"a":{"shape":[-1]}})", 0, "S5", "shape holds a negative number");
  checkTensorError(R"({"a":{"shape":[1.0]}})", 0, "S5", "shape holds a fraction");
  checkTensorError(R"({"a":{"shape":[[1]]}})", 0, "S5", "shape holds an array");
  checkTensorError(R"({"a":{"shape":[9223372036854775808]}})", 0, "S5", "is not below 2^63");
  checkTensorError(R"({"a":{"data_offsets":"0"}})", 0, "S5", "data_offsets is a string, not an array");
  checkTensorError(R"({"a":{"data_offsets":[0]}})", 0, "S5", "data_offsets has 1 numbers, not 2");
  checkTensorError(R"({"a":{"data_offsets":[0,0,0]}})", 0, "S5", "data_offsets has 3 numbers, not 2");
  checkTensorError(R"({"a":{"data_offsets":[0,true]}})", 0, "S5", "data_offsets holds a boolean");
}

TEST_CASE("S6: offsets that run backwards or past the data are refused", "[weights][safetensors]") {
  checkTensorError(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[4,0]}})", 4, "S6", "run backwards");
  checkTensorError(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, "S6",
                   "end past the data area of 4 bytes");
  checkTensorError(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[18446744073709551612,18446744073709551615]}})", 4,
                   "S6", "end past");
}

TEST_CASE("S7: a shape that overflows, or that is another size than its bytes, is refused", "[weights][safetensors]") {
  // 2^32 * 2^32 = 2^64; with a 0 behind it, too: the order of the dimensions must not matter to a reader.
  checkTensorError(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0, "S7",
                   "overflows 64 bits");
  checkTensorError(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})", 0, "S7",
                   "overflows 64 bits");
  checkTensorError(R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0, "S7",
                   "overflows 64 bits"); // 2^62 * 32 bits
  checkTensorError(R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", 1, "S7", "not whole bytes");
  checkTensorError(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, "S7",
                   "needs 12 bytes, but data_offsets [0, 8] hold 8");
  checkTensorError(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,0]}})", 0, "S7", "needs 4 bytes");
}

TEST_CASE("S8: holes, overlaps and bytes that no tensor claims are refused", "[weights][safetensors]") {
  checkTensorError(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", 3, "S8", "leaving a hole");
  checkTensorError(R"({"z":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                   R"("a":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})",
                   5, "S8", "leaving a hole after the tensor before it, which ends at 2");
  checkTensorError(R"({"Z":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                   R"("a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                   3, "S8", "overlapping");
  checkTensorError(R"({"Z":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                   R"("a":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
                   4, "S8", "overlapping"); // an empty tensor inside another
  checkTensorError(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 3, "S8",
                   "the data area has 3 bytes, but its last tensor ends at 2");
  CHECK_THAT(errorOf("{}", 1), Catch::Matchers::Contains("no tensor: (S8)"));
}

TEST_CASE("a name in an error can neither flood a log nor command a terminal", "[weights][safetensors]") {
  std::string error = errorOf("{\"\\u001b[2J" + std::string(5000, 'x') + "\":3}", 0);
  CHECK_THAT(error, Catch::Matchers::Contains("'\\x1b[2Jxxx"));
  CHECK(error.size() < 400);
}

TEST_CASE("deep nesting is an error, not a crash", "[weights][safetensors]") {
  checkTensorError("{\"a\":{\"shape\":" + std::string(1'000'000, '[') + "}", 0, "S5", "shape holds an array");
}
