#include "compiler/jit/Nvrtc.h"

#include "compiler/jit/NvrtcApi.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string_view>

namespace moec {

struct Nvrtc::Functions {
  nvrtc::Version *version;
  nvrtc::ErrorString *errorString;
  nvrtc::CreateProgram *createProgram;
  nvrtc::DestroyProgram *destroyProgram;
  nvrtc::AddNameExpression *addNameExpression;
  nvrtc::CompileProgram *compileProgram;
  nvrtc::Size *cubinSize;
  nvrtc::Bytes *cubin;
  nvrtc::Size *ptxSize;
  nvrtc::Bytes *ptx;
  nvrtc::Size *logSize;
  nvrtc::Bytes *log;
  nvrtc::LoweredName *loweredName;
  nvrtc::SetFlowCallback *setFlowCallback = nullptr; // without it a compile cannot be cancelled once it runs
};

namespace {

template <class Function> Status find(void *library, const char *name, Function &function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function ? Status() : makeError(Code::NotFound, "this libnvrtc has no {}", name);
}

Status findAll(void *library, Nvrtc::Functions &f) {
  for (Status status :
       {find(library, "nvrtcVersion", f.version), find(library, "nvrtcGetErrorString", f.errorString),
        find(library, "nvrtcCreateProgram", f.createProgram), find(library, "nvrtcDestroyProgram", f.destroyProgram),
        find(library, "nvrtcAddNameExpression", f.addNameExpression),
        find(library, "nvrtcCompileProgram", f.compileProgram), find(library, "nvrtcGetCUBINSize", f.cubinSize),
        find(library, "nvrtcGetCUBIN", f.cubin), find(library, "nvrtcGetPTXSize", f.ptxSize),
        find(library, "nvrtcGetPTX", f.ptx), find(library, "nvrtcGetProgramLogSize", f.logSize),
        find(library, "nvrtcGetProgramLog", f.log), find(library, "nvrtcGetLoweredName", f.loweredName)})
    if (!status.ok())
      return status;
  (void)find(library, "nvrtcSetFlowCallback", f.setFlowCallback);
  return {};
}

constexpr const char *libraryNames[] = {"libnvrtc.so.13", "libnvrtc.so.12"};

namespace fs = std::filesystem;

/// The libraries that are in `folder`.
void addFolder(const fs::path &folder, std::vector<std::string> &found) {
  std::error_code ignored;
  for (const char *name : libraryNames)
    if (fs::exists(folder / name, ignored))
      found.push_back((folder / name).string());
}

/// `folder` as a folder of libraries, as a prefix with lib/, and as a folder of Python packages.
void addBelow(const fs::path &folder, std::vector<std::string> &found) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored))
    return;
  for (const char *below : {"", "lib", "lib64", "nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib"})
    addFolder(folder / below, found);
}

/// The folders of Python packages below `prefix`, whatever the version: lib/python3.11/site-packages.
void addPython(const fs::path &prefix, std::vector<std::string> &found) {
  std::error_code error;
  std::vector<fs::path> versions;
  for (fs::directory_iterator entry(prefix / "lib", error), end; !error && entry != end; entry.increment(error))
    if (entry->path().filename().string().starts_with("python3"))
      versions.push_back(entry->path());
  std::sort(versions.begin(), versions.end()); // a folder has no order, a search has one
  for (const fs::path &version : versions)
    for (const char *packages : {"site-packages", "dist-packages"})
      addBelow(version / packages, found);
}

void addPlaces(const std::vector<std::string> &places, std::vector<std::string> &found) {
  for (const std::string &place : places) {
    const size_t before = found.size();
    std::error_code ignored;
    if (!fs::is_regular_file(place, ignored)) {
      addBelow(place, found);
      addPython(place, found);
    }
    if (found.size() == before) // a library; or nothing, for the loader to say why and the error to name
      found.push_back(place);
  }
}

std::string pathOf(void *library, const std::string &asked) {
  link_map *map = nullptr;
  return dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map && *map->l_name ? map->l_name : asked;
}

/// NVRTC opens its builtins by name alone, which the loader finds only on its own path, or if they are open already:
/// those beside a library that was found elsewhere (a Python package) are opened here, and stay.
void openBuiltins(const fs::path &folder, NvrtcVersion version) {
  const std::string name =
      "libnvrtc-builtins.so." + std::to_string(version.major) + "." + std::to_string(version.minor);
  (void)dlopen((folder / name).c_str(),
               RTLD_NOW | RTLD_LOCAL); // where it is not, NVRTC says so itself when it compiles
}

/// Destroys the program when the compile ends, however it ends.
class Program {
public:
  explicit Program(const Nvrtc::Functions &functions) : functions(functions) {}
  Program(const Program &) = delete;
  Program &operator=(const Program &) = delete;
  ~Program() {
    if (handle)
      functions.destroyProgram(&handle);
  }
  nvrtc::Program handle = nullptr;

private:
  const Nvrtc::Functions &functions;
};

Status check(const Nvrtc::Functions &f, nvrtc::Result result, const char *what) {
  if (result == nvrtc::success)
    return {};
  return makeError(Code::CompileFailed, "{}: {}", what, f.errorString(result));
}

std::string readLog(const Nvrtc::Functions &f, nvrtc::Program program) {
  size_t size = 0;
  if (f.logSize(program, &size) != nvrtc::success || size <= 1)
    return {};
  std::string log(size, '\0');
  if (f.log(program, log.data()) != nvrtc::success)
    return {};
  log.resize(size - 1); // the size counts the closing zero
  return log;
}

int askCancelled(void *payload, void *) { return (*static_cast<const std::function<bool()> *>(payload))() ? 1 : 0; }

Status createProgram(const Nvrtc::Functions &f, std::string source, std::span<const EmbeddedHeader> moreHeaders,
                     Program &program) {
  std::vector<const char *> texts, names;
  const auto add = [&](const EmbeddedHeader &header) {
    texts.push_back(header.text);
    names.push_back(header.name);
  };
  for (const EmbeddedHeader &header : embeddedKernels())
    add(header);
  for (const EmbeddedHeader &header : moreHeaders) {
    add(header);
    source.insert(0, fmt::format("#include \"{}\"\n", header.name));
  }
  return check(f,
               f.createProgram(&program.handle, source.c_str(), "moec.cu", static_cast<int>(texts.size()), texts.data(),
                               names.data()),
               "creating the program");
}

/// The resources in the order of the kernels' lowered names.
Status matchResources(CompiledUnit &unit) {
  const std::vector<ResourceUse> report = parsePtxasReport(unit.log);
  for (const std::string &name : unit.loweredNames) {
    const ResourceUse *found = nullptr;
    for (const ResourceUse &use : report)
      found = use.loweredName == name ? &use : found;
    if (!found || found->registers == 0)
      return makeError(Code::CompileFailed, "ptxas reported no resources of kernel {}", name);
    unit.resources.push_back(*found);
  }
  return {};
}

Status readCubin(const Nvrtc::Functions &f, nvrtc::Program program, CompiledUnit &unit) {
  size_t size = 0;
  if (Status status = check(f, f.cubinSize(program, &size), "reading the cubin's size"); !status.ok())
    return status;
  unit.cubin.resize(size);
  return check(f, f.cubin(program, reinterpret_cast<char *>(unit.cubin.data())), "reading the cubin");
}

Status readOutputs(const Nvrtc::Functions &f, nvrtc::Program program, const KernelUnit &source,
                   const NvrtcOptions &options, CompiledUnit &unit) {
  if (options.cubin)
    if (Status status = readCubin(f, program, unit); !status.ok())
      return status;
  if (options.ptx || !options.cubin) {
    size_t size = 0;
    if (Status status = check(f, f.ptxSize(program, &size), "reading the PTX's size"); !status.ok())
      return status;
    unit.ptx.resize(size);
    if (Status status = check(f, f.ptx(program, unit.ptx.data()), "reading the PTX"); !status.ok())
      return status;
    while (!unit.ptx.empty() && unit.ptx.back() == '\0')
      unit.ptx.pop_back();
  }
  for (const std::string &kernel : source.kernels) {
    const char *lowered = nullptr;
    if (Status status = check(f, f.loweredName(program, kernel.c_str(), &lowered), "looking up a kernel's name");
        !status.ok())
      return status.withContext("{}", kernel);
    unit.loweredNames.emplace_back(lowered);
  }
  return options.cubin ? matchResources(unit) : Status();
}

} // namespace

std::vector<std::string> Nvrtc::candidates(const NvrtcSearch &search) {
  std::vector<std::string> found;
  addPlaces(search.only, found);
  if (!search.only.empty())
    return found;
  found.insert(found.end(), std::begin(libraryNames), std::end(libraryNames)); // the loader's own path
  addBelow("/usr/local/cuda", found);
  addBelow("/usr/local/lib/moec", found); // where tools/setup puts NVIDIA's packages if there is no toolkit
  addPlaces(search.also, found);
  for (const char *prefix : {"/usr/local", "/usr"})
    addPython(prefix, found);
  return found;
}

Result<Nvrtc> Nvrtc::open(const NvrtcSearch &search) {
  std::string tried;
  for (const std::string &candidate : candidates(search)) {
    void *library = dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      tried += (tried.empty() ? "" : ", ") + candidate;
      continue;
    }
    auto functions = std::make_shared<Functions>();
    if (Status status = findAll(library, *functions); !status.ok())
      return status.withContext("{}", candidate);
    Nvrtc nvrtc;
    if (Status status = check(*functions, functions->version(&nvrtc.libraryVersion.major, &nvrtc.libraryVersion.minor),
                              "asking for the version");
        !status.ok())
      return status.withContext("{}", candidate);
    nvrtc.functions = std::move(functions);
    nvrtc.libraryPath = pathOf(library, candidate);
    openBuiltins(fs::path(nvrtc.libraryPath).parent_path(), nvrtc.libraryVersion);
    return nvrtc;
  }
  return makeError(Code::NotFound, "found no libnvrtc (tried {})", tried);
}

Result<std::vector<std::string>> Nvrtc::compileOptions(const NvrtcOptions &options) {
  const std::string_view target = options.target;
  const size_t digits = target.substr(0, 3) == "sm_" ? target.find_first_not_of("0123456789", 3) : 0;
  const std::string_view suffix = digits == std::string_view::npos ? "" : target.substr(digits);
  if (target.size() < 5 || target.size() > 8 || digits == 0 || digits == 3 ||
      !(suffix.empty() || suffix == "a" || suffix == "f"))
    return makeError(Code::InvalidArgument, "'{}' is no CUDA target (sm_80, sm_90a, ...)", options.target);
  // Of a virtual architecture NVRTC makes PTX alone, and ptxas does not run.
  const std::string arch = options.cubin ? options.target : "compute_" + options.target.substr(3);
  std::vector<std::string> all = {"-std=c++20", "-arch=" + arch, "--device-as-default-execution-space",
                                  // Without it NVRTC raises the stack limit of the whole process for good.
                                  "--modify-stack-limit=false", "--no-source-include", "--ptxas-options=-v"};
  if (options.lineInfo)
    all.push_back("-lineinfo");
  return all;
}

Result<CompiledUnit> Nvrtc::compile(const KernelUnit &unit, const NvrtcOptions &options) const {
  Result<std::string> source = unitSource(unit);
  if (!source)
    return source.status();
  Result<std::vector<std::string>> arguments = compileOptions(options);
  if (!arguments)
    return arguments.status();
  if (options.cancelled && options.cancelled())
    return makeError(Code::Cancelled, "the compile was cancelled before it began");

  const Functions &f = *functions;
  Program program(f);
  if (Status status = createProgram(f, *source, options.moreHeaders, program); !status.ok())
    return status;
  for (const std::string &kernel : unit.kernels)
    if (Status status = check(f, f.addNameExpression(program.handle, kernel.c_str()), "naming a kernel"); !status.ok())
      return status.withContext("{}", kernel);
  std::function<bool()> cancelled = options.cancelled;
  if (cancelled && f.setFlowCallback)
    if (Status status = check(f, f.setFlowCallback(program.handle, askCancelled, &cancelled), "setting the callback");
        !status.ok())
      return status;

  std::vector<const char *> pointers;
  for (const std::string &argument : *arguments)
    pointers.push_back(argument.c_str());
  const nvrtc::Result result = f.compileProgram(program.handle, static_cast<int>(pointers.size()), pointers.data());
  CompiledUnit compiled;
  compiled.log = readLog(f, program.handle);
  if (result != nvrtc::success && cancelled && cancelled())
    return makeError(Code::Cancelled, "the compile was cancelled");
  if (result != nvrtc::success)
    return makeError(Code::CompileFailed, "NVRTC {}.{} for {}: {}\n{}", libraryVersion.major, libraryVersion.minor,
                     options.target, f.errorString(result), compiled.log.substr(0, 4000));
  compiled.wgmmaSerialised = reportsSerialisedWgmma(compiled.log);
  if (Status status = readOutputs(f, program.handle, unit, options, compiled); !status.ok())
    return status;
  return compiled;
}

} // namespace moec
