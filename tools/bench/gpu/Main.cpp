// moec-bench-gpu build|verify|verify-fp8|measure|measure-fp8|inputs|steps|orders|facts|build-layouts|dump-layouts: see
// usage().
#include "runtime/Version.h"
#include "tools/bench/gpu/Facts.h"
#include "tools/bench/gpu/Inputs.h"
#include "tools/bench/gpu/Layouts.h"
#include "tools/bench/gpu/Measure.h"
#include "tools/bench/gpu/Orders.h"
#include "tools/bench/gpu/Verify.h"

#include <charconv>
#include <cstdio>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace moec::bench {
namespace {

constexpr const char *usage =
    R"(moec-bench-gpu build   --bundle DIR [--target sm_90a] [--only PART-OF-NAME]   compile shipped kernels; needs no GPU
moec-bench-gpu verify  --bundle DIR [--quick] [--kernels PART,...]  compare them with a float64 reference
moec-bench-gpu verify-fp8  --bundle DIR [--quick]              layers of e4m3 weights against float64
moec-bench-gpu measure-fp8 --bundle DIR [as measure] [--alone] their times beside bf16's, in turns; --alone: without bf16's,
                                                               and then with --inputs and --rest-ms
moec-bench-gpu steps   --bundle DIR [--overlap]               times of the router's product and of each form of dispatch
moec-bench-gpu orders  --bundle DIR                            which kernels agree bit for bit
moec-bench-gpu measure --bundle DIR [--shapes A,B] [--tokens 1,16,...] [--skews 0,1.2] [--matrix-tflops X]
                       [--repeats N] [--turns N] [--rest-ms N] [--kernels PART,...] [--every-choice] [--overlap]
                       [--always-dispatch]    of few pairs too, which do without
                       [--no-clusters]        dispatch by one block or three launches, as before sm_90
                       [--no-down-few]        down and combine for one and two tokens, too (e4m3: four)
                       [--no-gate-up-few]     e4m3's gate-up as for more tokens
                       [--inputs DIR] [--json FILE]
moec-bench-gpu inputs  --inputs DIR [--shapes A,B] [--tokens 1,16,...] [--skews 0,1.2] [--e4m3] [--reference]
                                                               write what measure runs on, as with --inputs; needs no GPU.
                                                               --e4m3: what measure-fp8 --alone does
                                                               --reference: the float64 output too, minutes for a large shape
moec-bench-gpu facts   [--json FILE]                           what loads, graph updates, growth and counting cost
moec-bench-gpu build-layouts --bundle DIR                      compile tests/emulation/hardware; needs no GPU
moec-bench-gpu dump-layouts  --bundle DIR --json FILE          write where a Hopper GPU puts elements
moec-bench-gpu --version
--kernels takes parts of names, and =NAME for one alone. Shapes: olmoe, qwen3-30b, mixtral, dsv3-slice;
by name also qwen3-235b, glm-4.5-air, dsv3 (routed experts alone), and tiny, for tests.
Exit codes: 0 ok, 2 usage, 5 no device, 7 mismatch, 1 other failure.
)";

using Options = std::map<std::string, std::string>;

std::vector<std::string> split(const std::string &text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin)
      parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

template <class Number> Status parseNumber(const std::string &option, const std::string &text, Number &value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    return makeError(Code::InvalidArgument, "{}: '{}' is no number", option, text);
  return {};
}

template <class Number>
Status parseNumbers(const Options &options, const std::string &option, std::vector<Number> &values) {
  const auto found = options.find(option);
  if (found == options.end())
    return {};
  values.clear();
  for (const std::string &part : split(found->second)) {
    Number value{};
    MOEC_TRY(parseNumber(option, part, value));
    values.push_back(value);
  }
  return values.empty() ? makeError(Code::InvalidArgument, "{} is empty", option) : Status();
}

template <class Number> Status parseOne(const Options &options, const std::string &option, Number &value) {
  const auto found = options.find(option);
  return found == options.end() ? Status() : parseNumber(option, found->second, value);
}

std::string text(const Options &options, const std::string &option, const std::string &otherwise = "") {
  const auto found = options.find(option);
  return found == options.end() ? otherwise : found->second;
}

Result<Options> parseOptions(int count, char **arguments) {
  Options options;
  for (int i = 2; i < count; ++i) {
    const std::string option = arguments[i];
    if (option == "--quick" || option == "--every-choice" || option == "--overlap" || option == "--reference" ||
        option == "--e4m3" || option == "--alone" || option == "--always-dispatch" || option == "--no-clusters" ||
        option == "--no-down-few" || option == "--no-gate-up-few")
      options.emplace(option, "1");
    else if (option.substr(0, 2) == "--" && i + 1 < count)
      options[option] = arguments[++i];
    else
      return makeError(Code::InvalidArgument, "unexpected '{}'", option);
  }
  const std::string command = arguments[1], needed = command == "inputs" ? "--inputs" : "--bundle";
  if (!options.count(needed) && command != "facts")
    return makeError(Code::InvalidArgument, "{} is needed", needed);
  return options;
}

Result<MeasureOptions> measureOptions(const Options &options) {
  MeasureOptions measure;
  measure.shapes = split(text(options, "--shapes"));
  measure.kernels = split(text(options, "--kernels"));
  measure.tokens = {1, 16, 64, 256, 1024, 4096, 16384};
  measure.overlap = options.count("--overlap");
  measure.everyChoice = options.count("--every-choice");
  measure.alwaysDispatch = options.count("--always-dispatch");
  measure.clusters = !options.count("--no-clusters");
  measure.downFew = !options.count("--no-down-few");
  measure.gateUpFew = !options.count("--no-gate-up-few");
  measure.inputFolder = text(options, "--inputs");
  measure.jsonPath = text(options, "--json");
  MOEC_TRY(parseNumbers(options, "--tokens", measure.tokens));
  MOEC_TRY(parseNumbers(options, "--skews", measure.skews));
  MOEC_TRY(parseOne(options, "--matrix-tflops", measure.matrixTflops));
  MOEC_TRY(parseOne(options, "--repeats", measure.repeats));
  MOEC_TRY(parseOne(options, "--turns", measure.turns));
  measure.turns = std::max(measure.turns, 1u);
  MOEC_TRY(parseOne(options, "--rest-ms", measure.restMs));
  return measure;
}

Status run(const std::string &command, const Options &options) {
  const std::string folder = text(options, "--bundle");
  if (command == "facts")
    return settleFacts(text(options, "--json"));
  if (command == "build")
    return buildBundle(folder, text(options, "--target", "sm_90a"), text(options, "--only"),
                       std::max(1u, std::thread::hardware_concurrency()));
  if (command == "build-layouts")
    return buildLayouts(folder);
  Result<MeasureOptions> measure = measureOptions(options);
  MOEC_TRY(measure.status());
  if (command == "inputs")
    return writeInputs(measure->inputFolder, measure->shapes, measure->tokens, measure->skews,
                       options.count("--reference"), options.count("--e4m3"));
  Result<std::unique_ptr<Device>> device = Device::open(0);
  MOEC_TRY(device.status());
  Bundle bundle(**device, folder);
  if (command == "measure")
    return measureLayers(**device, bundle, *measure);
  if (command == "measure-fp8" && options.count("--alone"))
    return measureFp8Alone(**device, bundle, *measure);
  if (command == "measure-fp8")
    return measureFp8Layers(**device, bundle, *measure);
  if (command == "steps")
    return measureSteps(**device, bundle, options.count("--overlap"));
  if (command == "orders")
    return compareOrders(**device, bundle);
  if (command == "dump-layouts")
    return dumpLayouts(**device, bundle, text(options, "--json", "layouts.json"));
  const VerifyOptions verify{.quick = options.count("--quick") > 0, .kernels = split(text(options, "--kernels"))};
  if (command == "verify-fp8")
    return verifyFp8Layers(**device, bundle, verify);
  if (command != "verify")
    return makeError(Code::InvalidArgument, "no command '{}'", command);
  const Status routing = verifyRouting(**device, bundle, verify);
  const Status whole = verifyWholeLayers(**device, bundle, verify);
  const Status layers = verifyLayers(**device, bundle, verify);
  return !layers.ok() ? layers : !whole.ok() ? whole : routing;
}

} // namespace
} // namespace moec::bench

int main(int count, char **arguments) {
  using namespace moec;
  std::setvbuf(stdout, nullptr, _IOLBF, 0); // a run that is cut short shows how far it came
  if (count < 2) {
    std::fputs(bench::usage, stderr);
    return exitCode(Code::InvalidArgument);
  }
  if (count == 2 && std::string(arguments[1]) == "--version") {
    std::printf("moec-bench-gpu %s\n", versionText());
    return 0;
  }
  Result<bench::Options> options = bench::parseOptions(count, arguments);
  const Status status = options ? bench::run(arguments[1], *options) : options.status();
  if (status.ok())
    return 0;
  std::fprintf(stderr, "moec-bench-gpu: %s\n", status.message().c_str());
  if (status.code() == Code::InvalidArgument)
    std::fputs(bench::usage, stderr);
  return exitCode(status.code());
}
