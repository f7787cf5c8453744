// Hostile text: the parser, the verifiers and the phases refuse it or accept it, and never crash.
// Distributions' MLIR comes without assertions, so what a verifier lets through is undefined
// behaviour later.
#include "ir/Moe.h"
#include "passes/Passes.h"
#include "tests/unit/Catch.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"

#include <cctype>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

using namespace moec;

namespace {

std::string readLitFile(const char *name) {
  std::filesystem::path path = std::filesystem::path(__FILE__).parent_path() / "../../lit" / name;
  std::ifstream file(path);
  INFO(path);
  REQUIRE(file);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Words, numbers, and all else by the character; comments are left out.
std::vector<std::string> tokensOf(const std::string &text) {
  std::vector<std::string> tokens;
  for (size_t at = 0; at < text.size();) {
    if (text.compare(at, 2, "//") == 0) {
      at = std::min(text.find('\n', at), text.size());
      continue;
    }
    size_t end = at + 1;
    auto isWord = [&](size_t index) {
      return std::isalnum(static_cast<unsigned char>(text[index])) || text[index] == '_';
    };
    bool number = std::isdigit(static_cast<unsigned char>(text[at]));
    if (isWord(at))
      while (end < text.size() && (number ? std::isdigit(static_cast<unsigned char>(text[end])) : isWord(end)))
        ++end;
    tokens.push_back(text.substr(at, end - at));
    at = end;
  }
  return tokens;
}

class Mutator {
public:
  explicit Mutator(uint64_t seed) : engine(seed) {}

  std::string mutate(std::vector<std::string> tokens) {
    for (size_t count = 1 + below(3); count > 0; --count)
      mutateOnce(tokens);
    std::string text;
    for (const std::string &token : tokens)
      text += token;
    return text;
  }

private:
  size_t below(size_t count) { return engine() % count; }

  /// A token of letters or digits from a random place on: most others are spaces and commas.
  size_t wordFrom(const std::vector<std::string> &tokens, bool digit) {
    size_t start = below(tokens.size());
    for (size_t step = 0; step < tokens.size(); ++step) {
      size_t at = (start + step) % tokens.size();
      auto first = static_cast<unsigned char>(tokens[at].front());
      if (digit ? std::isdigit(first) : std::isalpha(first))
        return at;
    }
    return start;
  }

  void mutateOnce(std::vector<std::string> &tokens) {
    static const char *const numbers[] = {"0",
                                          "1",
                                          "2",
                                          "-1",
                                          "-2147483648",
                                          "2147483647",
                                          "2147483648",
                                          "4294967296",
                                          "65536",
                                          "32768",
                                          "9223372036854775807",
                                          "99999999999999999999",
                                          "?",
                                          "1.0e400",
                                          "0x7FF0000000000000"};
    // No `index`: MLIR 22 itself crashes on `array<index: 1>`.
    static const char *const types[] = {"f32", "bf16", "f16", "f64", "i1", "i32", "i64", "xf32", "xi32", "x0xf32"};
    size_t at = below(tokens.size());
    switch (below(6)) {
    case 0: tokens.erase(tokens.begin() + static_cast<ptrdiff_t>(at)); break;
    case 1: tokens.insert(tokens.begin() + static_cast<ptrdiff_t>(at), tokens[below(tokens.size())]); break;
    case 2: std::swap(tokens[wordFrom(tokens, false)], tokens[wordFrom(tokens, false)]); break;
    case 3: replaceNumber(tokens, numbers[below(std::size(numbers))]); break;
    case 4: tokens[wordFrom(tokens, false)] = types[below(std::size(types))]; break;
    case 5: deleteStatement(tokens, at); break;
    }
    if (tokens.empty())
      tokens.push_back(" ");
  }

  /// Not the 1 of `%x#1`: MLIR's parser makes room for as many results as such a number says, and
  /// runs out of memory.
  void replaceNumber(std::vector<std::string> &tokens, const char *number) {
    size_t at = wordFrom(tokens, true);
    if (at == 0 || tokens[at - 1] != "#")
      tokens[at] = number;
  }

  /// From one end of line to the next.
  static void deleteStatement(std::vector<std::string> &tokens, size_t at) {
    auto begin = std::find(tokens.begin() + static_cast<ptrdiff_t>(at), tokens.end(), "\n");
    auto end = begin == tokens.end() ? begin : std::find(begin + 1, tokens.end(), "\n");
    tokens.erase(begin, end);
  }

  std::mt19937_64 engine;
};

struct Outcome {
  bool parsed = false, lowered = false;
};

class Victim {
public:
  Victim()
      : context(mlir::MLIRContext::Threading::DISABLED), handler(&context, [&](mlir::Diagnostic &diagnostic) {
          numErrors += diagnostic.getSeverity() == mlir::DiagnosticSeverity::Error;
          return mlir::success();
        }) {
    context.loadDialect<moe::MoeDialect, mlir::arith::ArithDialect, mlir::math::MathDialect, mlir::func::FuncDialect>();
    context.allowUnregisteredDialects();
  }

  mlir::OwningOpRef<mlir::ModuleOp> parse(const std::string &text) {
    return mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  }

  static std::string print(mlir::ModuleOp module) {
    std::string text;
    llvm::raw_string_ostream(text) << module;
    return text;
  }

  bool lower(mlir::ModuleOp module, passes::Phase to) {
    mlir::FailureOr<passes::Phase> from = passes::phaseOf(module);
    if (mlir::failed(from))
      return false;
    mlir::PassManager manager(&context);
    passes::addPhases(manager, *from, to);
    return mlir::succeeded(manager.run(module));
  }

  /// What verifies is printed so that it reads back; what is refused says why.
  Outcome attack(const std::string &text) {
    Outcome outcome;
    numErrors = 0;
    mlir::OwningOpRef<mlir::ModuleOp> module = parse(text);
    outcome.parsed = static_cast<bool>(module);
    CHECK((outcome.parsed || numErrors > 0));
    if (!module)
      return outcome;
    CHECK(parse(print(*module)));
    numErrors = 0;
    outcome.lowered = lower(*module, passes::Phase::Launches);
    CHECK(outcome.lowered == (numErrors == 0));
    return outcome;
  }

private:
  mlir::MLIRContext context;
  unsigned numErrors = 0;
  mlir::ScopedDiagnosticHandler handler;
};

} // namespace

TEST_CASE("mutated IR is refused or lowered, and never crashes", "[compiler][ir]") {
  Victim victim;
  std::vector<std::string> texts{readLitFile("ir/roundtrip.mlir"), readLitFile("passes/lower.mlir")};
  // Texts of the later phases, whose passes read what earlier ones wrote.
  for (passes::Phase phase : {passes::Phase::Grouped, passes::Phase::Planned, passes::Phase::Launches}) {
    mlir::OwningOpRef<mlir::ModuleOp> module = victim.parse(texts[1]);
    REQUIRE(module);
    REQUIRE(victim.lower(*module, phase));
    texts.push_back(Victim::print(*module));
  }
  std::vector<std::vector<std::string>> corpus;
  for (const std::string &text : texts)
    corpus.push_back(tokensOf(text));

  unsigned numParsed = 0, numLowered = 0, numMutations = 3000;
  for (unsigned seed = 0; seed < numMutations; ++seed) {
    std::string text = Mutator(seed).mutate(corpus[seed % corpus.size()]);
    INFO("seed " << seed << ":\n" << text);
    Outcome outcome = victim.attack(text);
    numParsed += outcome.parsed;
    numLowered += outcome.lowered;
  }
  // Mutations that never get past the parser would show nothing about the verifiers and passes
  // behind it.
  CAPTURE(numParsed, numLowered);
  CHECK(numParsed > numMutations / 20);
  CHECK(numLowered > numMutations / 100);
  CHECK(numLowered < numParsed);
}
