#include "compiler/jit/KernelText.h"
#include "compiler/jit/EmbeddedKernels.h"
#include "tests/unit/Catch.h"

#include <set>

using namespace moec;

namespace {

KernelUnit withFunctor(const std::string &name, const std::string &body) {
  return {.files = {KernelFile::GroupedGemmPortable}, .functors = {{name, body}}, .kernels = {}};
}

} // namespace

TEST_CASE("an instantiation names every field of its config", "[kernels]") {
  const GemmConfig config{.element = Element::F16,
                          .role = GemmRole::Down,
                          .tileTokens = 16,
                          .tileWeights = 128,
                          .tileK = 64,
                          .stages = 12,
                          .warpsTokens = 1,
                          .warpsWeights = 1,
                          .swapAB = true,
                          .blocksPerSm = 1,
                          .dense = false};
  CHECK(gemmSm90Kernel(config, "SiluGate") ==
        "moec::groupedGemmSm90<moec::GemmConfig{.element = moec::Element::F16, .role = moec::GemmRole::Down, "
        ".tileTokens = 16u, .tileWeights = 128u, .tileK = 64u, .stages = 12u, .warpsTokens = 1u, .warpsWeights = 1u, "
        ".swapAB = true, .blocksPerSm = 1u, .dense = false, .biased = false, .weighted = false}, "
        "moec::SiluGate>");
}

TEST_CASE("hostile names cannot reach the source", "[kernels]") {
  for (const char *name :
       {"", "9lives", "a b", "a>;", "x{};\n#include \"/etc/passwd\"\nstruct y", "a::b", "na\xc3\xafve"}) {
    INFO(name);
    const Result<std::string> source = unitSource(withFunctor(name, "return gate;"));
    REQUIRE_FALSE(source.ok());
    CHECK(source.status().code() == Code::InvalidArgument);
    // An error must not carry hostile text to where it is printed either.
    CHECK(source.status().message().find("passwd") == std::string::npos);
  }
}

TEST_CASE("a functor's body is expressions and nothing else", "[kernels]") {
  for (const char *body :
       {"return gate;\n#include \"/etc/passwd\"\n", "%:include </etc/passwd>", "?\?=include </etc/passwd>", "asm(x);",
        "__asm__ (x);", "return _Pragma(x);", "return \"a\";", "return 'a';", "/* */", "// x", "return gate; \\\n",
        "}; struct Evil {", "return gate; } }", "{ return gate;", "return gate;\r", "return g\xc3\xa4te;",
        "import std;"}) {
    INFO(body);
    const Result<std::string> source = unitSource(withFunctor("F", body));
    REQUIRE_FALSE(source.ok());
    CHECK(source.status().code() == Code::InvalidArgument);
  }
  CHECK(
      unitSource(withFunctor("F", "const float includes = gate / 2.0f;\n{ return includes % 1 ? up : -gate; }")).ok());
}

TEST_CASE("an instantiation cannot smuggle a directive", "[kernels]") {
  for (const char *kernel :
       {"moec::combine<1>\n#include \"x\"", "moec::combine<sizeof(\"x\")>", "a[0]", "a?b:c", "a%:b"}) {
    INFO(kernel);
    CHECK_FALSE(unitSource({.files = {KernelFile::Combine}, .functors = {}, .kernels = {kernel}}).ok());
  }
}

TEST_CASE("every include of an embedded kernel is embedded", "[kernels]") {
  std::set<std::string> names;
  for (const EmbeddedHeader &header : embeddedKernels())
    CHECK(names.insert(header.name).second);
  CHECK(names.size() >= 15);
  for (const EmbeddedHeader &header : embeddedKernels()) {
    const std::string text = header.text;
    for (size_t at = text.find("#include \""); at != std::string::npos; at = text.find("#include \"", at + 1)) {
      const size_t begin = at + 10;
      INFO(header.name);
      CHECK(names.count(text.substr(begin, text.find('"', begin) - begin)) == 1);
    }
  }
}
