#include "tools/moec/Contest.h"

#include "tools/moec/BenchSession.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <thread>

namespace moec::tool {

namespace {

Result<double> block(const Contestant &contestant, const ContestOptions &options) {
  if (contestant.enter)
    if (Status status = contestant.enter(); !status.ok())
      return status.withContext("{}", contestant.name);
  std::this_thread::sleep_for(std::chrono::duration<double>(options.restSeconds));
  const uint32_t period = std::max(1u, options.period);
  std::vector<std::vector<double>> times(period); // by place in the period
  double spent = 0;
  auto run = [&](uint32_t index) {
    Result<uint64_t> ns = contestant.step(index);
    return ns ? ns : Result<uint64_t>(ns.status().withContext("{}", contestant.name));
  };
  if (Result<uint64_t> warm = run(0); !warm)
    return warm.status();
  for (uint32_t index = 0; index < options.fewestSteps || index % period != 0 || spent < options.blockSeconds * 1e9;
       ++index) {
    Result<uint64_t> ns = run(index);
    if (!ns)
      return ns.status();
    times[index % period].push_back(static_cast<double>(*ns));
    spent += static_cast<double>(*ns);
  }
  double sum = 0;
  for (const std::vector<double> &same : times)
    sum += median(same);
  return sum / period;
}

} // namespace

Result<std::vector<std::vector<double>>> contest(const std::vector<Contestant> &contestants,
                                                 const ContestOptions &options) {
  const size_t count = contestants.size();
  std::vector<std::vector<double>> times(count);
  const auto start = std::chrono::steady_clock::now();
  auto overdue = [&](uint32_t repeat) {
    return repeat > ContestOptions::fewestRepeats &&
           std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() > options.seconds;
  };
  for (uint32_t repeat = 0; repeat <= options.repeats && !overdue(repeat); ++repeat)
    for (size_t turn = 0; turn < count; ++turn) {
      // Forwards and backwards in turn, from another first one each time: nobody always follows the same neighbour.
      const size_t along = (turn + repeat) % count, index = repeat % 2 ? count - 1 - along : along;
      Result<double> ns = block(contestants[index], options);
      if (!ns)
        return ns.status();
      if (repeat > 0)
        times[index].push_back(*ns);
    }
  return times;
}

Interval intervalOf(const std::vector<double> &values) {
  auto [low, high] = medianInterval(values);
  return {median(values), low, high};
}

std::string ratioText(const Interval &ratio) {
  return fmt::format("{:.3f} ({:.3f} .. {:.3f})", ratio.median, ratio.low, ratio.high);
}

nlohmann::json ratioJson(const Interval &ratio) {
  return {{"ratio", ratio.median}, {"low", ratio.low}, {"high", ratio.high}};
}

Interval ratioOf(const std::vector<double> &a, const std::vector<double> &b) {
  std::vector<double> ratios;
  for (size_t repeat = 0; repeat < a.size(); ++repeat)
    ratios.push_back(a[repeat] / b[repeat]);
  return intervalOf(ratios);
}

} // namespace moec::tool
