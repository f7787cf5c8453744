#include "compiler/core/Profile.h"
#include "tests/unit/Catch.h"

using namespace moec;

namespace {

std::string errorOf(const std::string &text) {
  Result<Profile> profile = Profile::fromJson(text);
  REQUIRE_FALSE(profile.ok());
  CHECK(profile.status().code() == Code::InvalidArgument);
  return profile.status().message();
}

std::string withLayers(const std::string &layers) {
  return R"({"schema": "moec.profile", "schema_version": 1, "layers": )" + layers + "}";
}

} // namespace

TEST_CASE("a profile survives writing and reading", "[core][profile]") {
  Profile profile{.defaultTokens = 77, .layers = {{0, {16, {16, 0, 48}}}, {61, {1, {1, 1, 0}}}}};
  Result<Profile> read = Profile::fromJson(profile.toJson());
  REQUIRE(read.ok());
  CHECK(read->defaultTokens == 77);
  CHECK(read->layers == profile.layers);
  CHECK(read->toJson() == profile.toJson());
  Result<Profile> empty = Profile::fromJson(Profile{}.toJson());
  REQUIRE(empty.ok());
  CHECK(empty->layers.empty());
  CHECK(empty->defaultTokens == 256);
}

TEST_CASE("a layer that the profile lacks is planned for uniform routing", "[core][profile]") {
  Profile profile{.defaultTokens = 10, .layers = {{3, {16, {16, 0, 48, 0}}}}};
  CHECK(profile.of(3, 4, 4).pairs == std::vector<uint32_t>{16, 0, 48, 0});
  // 10 tokens * 2 pairs over 4 experts.
  CHECK(profile.of(2, 2, 4) == Histogram{10, {5, 5, 5, 5}});
  CHECK(profile.of(3, 2, 8) == Histogram::uniform(10, 2, 8));
}

TEST_CASE("a profile of another model is told apart by its experts", "[core][profile]") {
  Profile profile{.layers = {{3, {16, {16, 0, 48, 0}}}}};
  CHECK(profile.matches(3, 4).ok());
  CHECK(profile.matches(2, 8).ok());
  CHECK(profile.matches(3, 8).message() ==
        "profile: layer 3 lists the pairs of 4 experts, but the model's layer has 8");
}

TEST_CASE("what is wrong with a profile is named", "[core][profile]") {
  CHECK(errorOf("nonsense").starts_with("profile: not valid JSON"));
  CHECK(errorOf("[]") == "profile: expected an object, found array");
  CHECK(errorOf(R"({"schema": "moec.calibration", "schema_version": 1})") ==
        "profile: schema: expected \"moec.profile\", found \"moec.calibration\"");
  CHECK(errorOf(R"({"schema": "moec.profile", "schema_version": 2, "layers": []})") ==
        "profile: schema_version: version 2 is not supported, only 1");
  CHECK(errorOf(R"({"schema": "moec.profile", "schema_version": 1})") == "profile: layers: missing");
  CHECK(errorOf(withLayers(R"([{"layer": 1, "tokens": 0, "pairs": [1]}])")) ==
        "profile: layers[0].tokens: expected an integer from 1 to 16777216, found 0");
  CHECK(errorOf(withLayers(R"([{"layer": 1, "tokens": 4, "pairs": [1, "2"]}])")) ==
        "profile: layers[0].pairs[1]: expected an integer from 0 to 16777216, found \"2\"");
  CHECK(errorOf(withLayers(R"([{"layer": 1, "tokens": 4, "pairs": []}])")) ==
        "profile: layers[0].pairs: expected 1 to 65536 experts, found 0");
  CHECK(errorOf(withLayers(R"([{"layer": 1, "tokens": 4, "pairs": [1]}, {"layer": 1, "tokens": 4, "pairs": [1]}])")) ==
        "profile: layers[1].layer: layer 1 comes twice");
  CHECK(errorOf(withLayers(R"([{"layer": 1, "token": 4, "pairs": [1]}])")) ==
        "profile: layers[0]: unknown key 'token'");
}
