#include "longlora/inspect/expectations.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "longlora/core/format.h"

namespace longlora::inspect {

namespace {

int64_t count_of(const std::vector<results::NamedCount>& counts, const std::string& name) {
  const auto found =
      std::find_if(counts.begin(), counts.end(), [&](const auto& count) { return count.name == name; });
  return found == counts.end() ? 0 : found->count;
}

// Whether a number is said to be so many thousands.
bool is_thousands(int64_t count, int64_t thousands) {
  return (count + 500) / 1000 == thousands;
}

// The two fields in every sample, and no other that is read.
results::Expectation check_fields(const FormCounts& counts) {
  results::Expectation fields = {.expected =
                                     "each sample has instruction and output, and nothing else is read"};
  fields.holds = true;
  std::vector<std::string> found;
  for (const char* name : {"instruction", "output"}) {
    const int64_t count = count_of(counts.fields, name);
    fields.holds = fields.holds && count == counts.num_samples;
    found.push_back(fmt::format("{} in {}", name, format_count(count)));
  }
  for (const results::NamedCount& field : counts.fields) {
    if (field.name == "instruction" || field.name == "output") continue;
    const bool is_read = count_of(counts.unread, field.name) == 0;
    fields.holds = fields.holds && !is_read;
    found.push_back(
        fmt::format("{} in {}{}", field.name, format_count(field.count), is_read ? "" : " (not read)"));
  }
  fields.found = fmt::format("{}", fmt::join(found, ", "));
  return fields;
}

}  // namespace

const std::vector<std::string>& expectation_names() {
  static const std::vector<std::string> names = {"longalpaca"};
  return names;
}

std::vector<results::Expectation> check_longalpaca(const FormCounts& counts) {
  const int64_t num_short = counts.num_samples - counts.num_broken - counts.num_long;
  const auto check = [](std::string expected, int64_t count, const char* what, bool holds) {
    return results::Expectation{std::move(expected), fmt::format("{} {}", format_count(count), what), holds};
  };
  return {check("12,000 samples", counts.num_samples, "samples", counts.num_samples == 12000),
          check("no broken samples", counts.num_broken, "broken", counts.num_broken == 0),
          check_fields(counts),
          check(fmt::format("9 thousand long samples ({} words or more)", format_count(kLongWords)),
                counts.num_long, "long", is_thousands(counts.num_long, 9)),
          check("3 thousand short samples", num_short, "short", is_thousands(num_short, 3))};
}

}  // namespace longlora::inspect
