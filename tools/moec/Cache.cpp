// `moec cache`: looks after the folder of compiled artefacts.
#include "tools/moec/CacheArchive.h"
#include "tools/moec/CacheUsage.h"
#include "tools/moec/Setup.h"
#include "tools/moec/Verbs.h"
#include "tools/moec/Warm.h"

#include "runtime/PackBudget.h"
#include "tools/common/Files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace moec::tool {
namespace {

struct CacheVerbOptions {
  std::string format = "text", maxSize, archive;
  bool remove = false;
  CacheOptions cache;
};
using SharedOptions = std::shared_ptr<CacheVerbOptions>;

nlohmann::json resultOf(const char *verb, const std::string &folder) {
  return {{"schema", std::string("moec.cache-") + verb}, {"schema_version", 1}, {"folder", folder}};
}

Status show(const CacheVerbOptions &options, const nlohmann::json &json, const std::string &text) {
  return printResult(options.format == "json" ? jsonText(json) : text);
}

/// The store, but only where the folder exists already: looking at a cache does not make one.
Result<CacheStore> openExisting(const CacheVerbOptions &options, const Tool &tool) {
  Result<std::string> folder = cacheFolder(options.cache, tool.environment);
  if (!folder)
    return folder.status();
  Result<CacheUsage> usage = cacheUsage(*folder);
  if (!usage)
    return usage.status();
  if (!usage->exists)
    return makeError(Code::NotFound, "there is no cache at {}", *folder);
  return CacheStore::open(*folder);
}

Status runStat(const CacheVerbOptions &options, const Tool &tool) {
  Result<std::string> folder = cacheFolder(options.cache, tool.environment);
  if (!folder)
    return folder.status();
  Result<CacheUsage> usage = cacheUsage(*folder);
  if (!usage)
    return usage.status();
  const KindUsage total = usage->total();
  nlohmann::json json = resultOf("stat", *folder);
  json["exists"] = usage->exists;
  json["entries"] = total.entries;
  json["bytes"] = total.bytes;
  json["temporaries"] = usage->temporaries;
  json["kinds"] = nlohmann::json::object();
  std::string text = fmt::format("{}: {}{} entries, {}\n", *folder, usage->exists ? "" : "does not exist yet, ",
                                 total.entries, bytesText(total.bytes));
  for (const auto &[kind, counted] : usage->kinds) {
    json["kinds"][kind] = {{"entries", counted.entries}, {"bytes", counted.bytes}};
    text += fmt::format("  {:<14}{:>7} entries {:>12}\n", kind, counted.entries, bytesText(counted.bytes));
  }
  return show(options, json, text);
}

Status runVerify(const CacheVerbOptions &options, const Tool &tool) {
  Result<CacheStore> store = openExisting(options, tool);
  if (!store)
    return store.status();
  Result<CacheStore::Usage> usage = store->verify(options.remove);
  if (!usage)
    return usage.status();
  nlohmann::json json = resultOf("verify", store->folder());
  json["entries"] = usage->entries;
  json["bytes"] = usage->bytes;
  json["corrupt"] = usage->corrupt;
  json["removed"] = options.remove ? usage->corrupt : 0;
  const std::string text =
      fmt::format("{}: {} good entries, {}; {} corrupt{}\n", store->folder().string(), usage->entries,
                  bytesText(usage->bytes), usage->corrupt, options.remove && usage->corrupt ? ", removed" : "");
  if (Status status = show(options, json, text); !status.ok() || usage->corrupt == 0 || options.remove)
    return status;
  return makeError(Code::CacheCorrupt, "{} corrupt entries in {}: --remove removes them", usage->corrupt,
                   store->folder().string());
}

Status runCollect(const CacheVerbOptions &options, const Tool &tool, const char *verb, uint64_t maxBytes) {
  Result<CacheStore> store = openExisting(options, tool);
  if (!store)
    return store.status();
  Result<CacheUsage> before = cacheUsage(store->folder());
  if (!before)
    return before.status();
  Result<CacheStore::Usage> left = store->collect(maxBytes);
  if (!left)
    return left.status();
  const KindUsage had = before->total();
  const uint64_t removed = had.entries - std::min(had.entries, left->entries);
  nlohmann::json json = resultOf(verb, store->folder());
  json["removed"] = removed;
  json["entries"] = left->entries;
  json["bytes"] = left->bytes;
  return show(options, json,
              fmt::format("{}: removed {} entries, {} left, {}\n", store->folder().string(), removed, left->entries,
                          bytesText(left->bytes)));
}

Status runGc(const CacheVerbOptions &options, const Tool &tool) {
  Result<PackBudget> size = PackBudget::parse(options.maxSize);
  if (!size || size->bytes == UINT64_MAX)
    return makeError(Code::InvalidArgument, "--max-size '{}' is no size: give bytes as 1000000, 512MiB or 2GiB",
                     options.maxSize);
  return runCollect(options, tool, "gc", size->bytes);
}

Status runExport(const CacheVerbOptions &options, const Tool &tool) {
  Result<CacheStore> store = openExisting(options, tool);
  if (!store)
    return store.status();
  Result<std::vector<ArchivedEntry>> entries = readEntries(store->folder());
  if (!entries)
    return entries.status();
  const std::vector<uint8_t> bytes = writeArchive(*entries);
  if (Status status = writeOutput(options.archive, bytes); !status.ok() || options.archive == "-")
    return status;
  nlohmann::json json = resultOf("export", store->folder());
  json["output"] = options.archive;
  json["entries"] = entries->size();
  json["bytes"] = bytes.size();
  return show(options, json,
              fmt::format("{}: {} entries, {}\n", options.archive, entries->size(), bytesText(bytes.size())));
}

Status runImportArchive(const CacheVerbOptions &options, const Tool &tool) {
  Result<std::string> folder = cacheFolder(options.cache, tool.environment);
  if (!folder)
    return folder.status();
  Result<std::string> text = readWholeFile(options.archive);
  if (!text)
    return text.status();
  Result<std::vector<ArchivedEntry>> entries =
      readArchive({reinterpret_cast<const uint8_t *>(text->data()), text->size()});
  if (!entries)
    return entries.status().withContext("{}", options.archive);
  Result<CacheStore> store = CacheStore::open(*folder);
  if (!store)
    return store.status();
  for (const ArchivedEntry &entry : *entries)
    if (Status status = store->put(entry.kind, entry.key, entry.value); !status.ok())
      return status.withContext("{}", options.archive);
  nlohmann::json json = resultOf("import", *folder);
  json["entries"] = entries->size();
  return show(options, json, fmt::format("{}: {} entries from {}\n", *folder, entries->size(), options.archive));
}

CLI::App *addPart(CLI::App &cache, Tool &tool, const VerbText &text, SharedOptions options,
                  std::function<Status()> action) {
  CLI::App *verb = addVerb(cache, tool, text, std::move(action));
  addCacheOptions(verb, options->cache, /*canBeOff=*/false);
  addFormat(verb, options->format);
  return verb;
}

void addLookingAfter(CLI::App &cache, Tool &tool) {
  auto stat = std::make_shared<CacheVerbOptions>();
  addPart(cache, tool, {"stat", "Count entries and bytes by kind", "Example:\n  moec cache stat --format=json"}, stat,
          [stat, &tool] { return runStat(*stat, tool); });

  auto verify = std::make_shared<CacheVerbOptions>();
  addPart(cache, tool,
          {"verify", "Read and check every entry",
           "Example:\n  moec cache verify --remove\nExit code 6: corrupt entries are left."},
          verify, [verify, &tool] { return runVerify(*verify, tool); })
      ->add_flag("--remove", verify->remove, "remove what is corrupt");

  auto gc = std::make_shared<CacheVerbOptions>();
  addPart(cache, tool,
          {"gc", "Remove the entries that were used least recently", "Example:\n  moec cache gc --max-size 2GiB"}, gc,
          [gc, &tool] { return runGc(*gc, tool); })
      ->add_option("--max-size", gc->maxSize, "what may be left: bytes, 512MiB or 2GiB")
      ->required();

  auto clear = std::make_shared<CacheVerbOptions>();
  addPart(cache, tool, {"clear", "Remove every entry", "Example:\n  moec cache clear"}, clear,
          [clear, &tool] { return runCollect(*clear, tool, "clear", 0); });
}

void addCarrying(CLI::App &cache, Tool &tool) {
  auto out = std::make_shared<CacheVerbOptions>();
  addPart(cache, tool, {"export", "Write all entries into one file", "Example:\n  moec cache export warm.moecache"},
          out, [out, &tool] { return runExport(*out, tool); })
      ->add_option("archive", out->archive, "file to write; - is stdout")
      ->required();

  auto in = std::make_shared<CacheVerbOptions>();
  addPart(
      cache, tool,
      {"import", "Add the entries of an exported file",
       "Example:\n  moec cache import warm.moecache\nIts kernels will run as your own: import only what you trust."},
      in, [in, &tool] { return runImportArchive(*in, tool); })
      ->add_option("archive", in->archive, "file that 'moec cache export' wrote")
      ->required();

  auto warm = std::make_shared<WarmOptions>();
  CLI::App *verb = addVerb(cache, tool,
                           {"warm", "Put into the cache what opening a session needs",
                            "Example:\n  moec cache warm tests/golden/mixtral --tokens 64\n"
                            "Then a session with the same target, threads and tokens opens without the compiler."},
                           [warm, &tool] { return runWarm(*warm, tool); });
  addWarmOptions(verb, *warm);
}

} // namespace

void addCache(CLI::App &app, Tool &tool) {
  CLI::App *cache = app.add_subcommand("cache", "Look after the cache of compiled artefacts");
  cache->footer("Example:\n  moec cache stat");
  cache->require_subcommand(1);
  addLookingAfter(*cache, tool);
  addCarrying(*cache, tool);
}

} // namespace moec::tool
