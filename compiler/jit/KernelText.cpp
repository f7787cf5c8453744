#include "compiler/jit/KernelText.h"

#include <algorithm>
#include <cctype>
#include <string_view>

namespace moec {
namespace {

const char *includeOf(KernelFile file) {
  switch (file) {
  case KernelFile::RouterLogits: return "compiler/kernels/routerLogits.cuh";
  case KernelFile::RouterLogitsSm90: return "compiler/kernels/routerLogitsSm90.cuh";
  case KernelFile::Route: return "compiler/kernels/route.cuh";
  case KernelFile::Dispatch: return "compiler/kernels/dispatch.cuh";
  case KernelFile::DispatchGrid: return "compiler/kernels/dispatchGrid.cuh";
  case KernelFile::DispatchCluster: return "compiler/kernels/dispatchCluster.cuh";
  case KernelFile::DispatchSlots: return "compiler/kernels/dispatchSlots.cuh";
  case KernelFile::Combine: return "compiler/kernels/combine.cuh";
  case KernelFile::GroupedGemmPortable: return "compiler/kernels/groupedGemmPortable.cuh";
  case KernelFile::GroupedGemmSm90: return "compiler/kernels/groupedGemmSm90.cuh";
  case KernelFile::GroupedGemmFitted: return "compiler/kernels/groupedGemmFitted.cuh";
  case KernelFile::Quantise: return "compiler/kernels/quantise.cuh";
  case KernelFile::GroupedGemmFp8: return "compiler/kernels/groupedGemmFp8.cuh";
  case KernelFile::DownFew: return "compiler/kernels/downFew.cuh";
  case KernelFile::DownFewFp8: return "compiler/kernels/downFewFp8.cuh";
  case KernelFile::GateUpFewFp8: return "compiler/kernels/gateUpFewFp8.cuh";
  }
  return "";
}

const char *nameOf(Element element) { return element == Element::BF16 ? "BF16" : "F16"; }
const char *nameOf(GemmRole role) { return role == GemmRole::GateUp ? "GateUp" : "Down"; }
const char *nameOf(RouteScoring scoring) {
  return scoring == RouteScoring::None ? "None" : scoring == RouteScoring::Softmax ? "Softmax" : "Sigmoid";
}

std::string text(const GemmConfig &c) {
  return fmt::format("moec::GemmConfig{{.element = moec::Element::{}, .role = moec::GemmRole::{}, .tileTokens = {}u, "
                     ".tileWeights = {}u, .tileK = {}u, .stages = {}u, .warpsTokens = {}u, .warpsWeights = {}u, "
                     ".swapAB = {}, .blocksPerSm = {}u, .dense = {}, .biased = {}, .weighted = {}{}{}{}}}",
                     nameOf(c.element), nameOf(c.role), c.tileTokens, c.tileWeights, c.tileK, c.stages, c.warpsTokens,
                     c.warpsWeights, c.swapAB, c.blocksPerSm, c.dense, c.biased, c.weighted,
                     c.clusterBlocks > 1 ? fmt::format(", .clusterBlocks = {}u", c.clusterBlocks) : "",
                     c.quantises ? ", .quantises = true" : "", c.combines ? ", .combines = true" : "");
}

std::string text(const DownFewConfig &c) {
  return fmt::format("moec::DownFewConfig{{.element = moec::Element::{}, .topK = {}u, .biased = {}{}}}",
                     nameOf(c.element), c.topK, c.biased, c.groups > 1 ? fmt::format(", .groups = {}u", c.groups) : "");
}

/// Left out where nothing is joined, as in the texts that caches are keyed by.
const char *joinedText(bool joined) { return joined ? ", .joined = true" : ""; }

bool isIdentifier(std::string_view name) {
  return !name.empty() && name.size() <= 64 && !std::isdigit(static_cast<unsigned char>(name[0])) &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '_'; });
}

/// Characters that expressions and statements are made of; no '#', quotes, backslash or '@', and no control
/// characters but newline. '%:' and '?\?=' also spell '#', so '%' and '?' stand alone.
Status checkPlain(std::string_view what, std::string_view text, std::string_view extra) {
  constexpr std::string_view common = " \n_.,:;=+-*(){}<>&|!";
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) || common.find(c) != std::string_view::npos ||
                       extra.find(c) != std::string_view::npos;
    const bool directive =
        i + 1 < text.size() && ((c == '%' && text[i + 1] == ':') || (c == '?' && text[i + 1] == '?') ||
                                (c == '/' && (text[i + 1] == '/' || text[i + 1] == '*')));
    if (static_cast<unsigned char>(c) >= 0x80 || !plain || directive)
      return makeError(Code::InvalidArgument, "{} has text that may not reach a kernel, at character {}", what, i);
  }
  for (std::string_view word : {"asm", "include", "import", "pragma", "_Pragma", "__asm", "__asm__", "embed"})
    for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
      const auto isWord = [&](size_t i) {
        return i < text.size() && (std::isalnum(static_cast<unsigned char>(text[i])) || text[i] == '_');
      };
      if (!(at > 0 && isWord(at - 1)) && !isWord(at + word.size()))
        return makeError(Code::InvalidArgument, "{} uses '{}', which may not reach a kernel", what, word);
    }
  return {};
}

Status checkBalanced(std::string_view what, std::string_view text) {
  int depth = 0;
  for (char c : text) {
    depth += c == '{' ? 1 : c == '}' ? -1 : 0;
    if (depth < 0)
      break;
  }
  return depth == 0 ? Status() : makeError(Code::InvalidArgument, "{} closes more or fewer braces than it opens", what);
}

} // namespace

std::string routerLogitsKernel(const RouterGemmConfig &c) {
  return fmt::format("moec::{}<moec::RouterGemmConfig{{.element = moec::Element::{}, .tileTokens = {}u, "
                     ".tileExperts = {}u, .wgmma = {}}}>",
                     c.wgmma ? "routerLogitsSm90" : "routerLogits", nameOf(c.element), c.tileTokens, c.tileExperts,
                     c.wgmma);
}

std::string routeKernel(const RouteConfig &c) {
  return fmt::format("moec::route<moec::RouteConfig{{.experts = {}u, .topK = {}u, .before = moec::RouteScoring::{}, "
                     ".after = moec::RouteScoring::{}, .correctionBias = {}, .renormalise = {}, .groups = {}u, "
                     ".groupsPicked = {}u, .groupTop = {}u, .threads = {}u}}>",
                     c.experts, c.topK, nameOf(c.before), nameOf(c.after), c.correctionBias, c.renormalise, c.groups,
                     c.groupsPicked, c.groupTop, c.threads);
}

std::string dispatchKernel(const char *step, const DispatchConfig &c) {
  return fmt::format("moec::dispatch{}<moec::DispatchConfig{{.experts = {}u, .threads = {}u, .pairsPerBlock = {}u{}}}>",
                     step, c.experts, c.threads, c.pairsPerBlock, joinedText(c.joined));
}

std::string combineKernel(const CombineConfig &c) {
  return fmt::format(
      "moec::combine<moec::CombineConfig{{.element = moec::Element::{}, .topK = {}u, .threads = {}u, .weighted = {}}}>",
      nameOf(c.element), c.topK, c.threads, c.weighted);
}

std::string gemmPortableKernel(const GemmConfig &config, const std::string &activation) {
  return fmt::format("moec::groupedGemmPortable<{}, moec::{}>", text(config), activation);
}

std::string gemmSm90Kernel(const GemmConfig &config, const std::string &activation) {
  return fmt::format("moec::groupedGemmSm90<{}, moec::{}>", text(config), activation);
}

std::string gemmFittedKernel(const GemmConfig &config, const std::string &activation) {
  return fmt::format("moec::groupedGemmFitted<{}, moec::{}>", text(config), activation);
}

std::string quantiseKernel(const QuantiseConfig &c) {
  return fmt::format("moec::quantise<moec::QuantiseConfig{{.element = moec::Element::{}, .threads = {}u{}}}>",
                     nameOf(c.element), c.threads, joinedText(c.joined));
}

std::string downFewKernel(const DownFewConfig &config) { return fmt::format("moec::downFew<{}>", text(config)); }

std::string downFewFp8Kernel(const DownFewConfig &config) { return fmt::format("moec::downFewFp8<{}>", text(config)); }

std::string gateUpFewFp8Kernel(const GateUpFewConfig &c, const std::string &activation) {
  return fmt::format("moec::gateUpFewFp8<moec::GateUpFewConfig{{.element = moec::Element::{}}}, moec::{}>",
                     nameOf(c.element), activation);
}

std::string gemmFp8Kernel(const GemmConfig &config, const std::string &activation) {
  return fmt::format("moec::groupedGemmFp8<{}, moec::{}>", text(config), activation);
}

Result<std::string> unitSource(const KernelUnit &unit) {
  std::string source;
  for (KernelFile file : unit.files)
    source += fmt::format("#include \"{}\"\n", includeOf(file));
  for (const Functor &functor : unit.functors) {
    if (!isIdentifier(functor.name))
      return makeError(Code::InvalidArgument, "the functor's name is no identifier ({} characters)",
                       functor.name.size());
    const std::string what = fmt::format("functor {}", functor.name);
    if (Status status = checkPlain(what, functor.body, "?/[]%^~"); !status.ok())
      return status;
    if (Status status = checkBalanced(what, functor.body); !status.ok())
      return status;
    source += fmt::format("namespace moec {{\nstruct {} {{\n  static __device__ float apply(float gate, float up) "
                          "{{\n{}\n  }}\n}};\n}} // namespace moec\n",
                          functor.name, functor.body);
  }
  for (size_t i = 0; i < unit.kernels.size(); ++i)
    if (Status status = checkPlain(fmt::format("instantiation {}", i), unit.kernels[i], ""); !status.ok())
      return status;
  return source;
}

} // namespace moec
