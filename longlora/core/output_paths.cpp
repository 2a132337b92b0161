#include "longlora/core/output_paths.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/file_internal.h"
#include "longlora/core/json.h"

namespace longlora {
namespace {

namespace fs = std::filesystem;

/// What a file or folder is on the disk, however it is spelt.
struct Identity {
  dev_t device;
  ino_t number;
  bool operator==(const Identity&) const = default;
};

std::optional<Identity> identity_of(const fs::path& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return std::nullopt;
  return Identity{info.st_dev, info.st_ino};
}

bool is_folder(const fs::path& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

/// The path itself and every folder above it, by identity.
std::vector<Identity> with_parents(fs::path path) {
  std::vector<Identity> found;
  while (true) {
    if (const auto identity = identity_of(path)) found.push_back(*identity);
    if (!path.has_relative_path()) return found;
    path = path.parent_path();
  }
}

bool contains(const std::vector<Identity>& all, const Identity& one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

std::optional<fs::path> real_path(const fs::path& path) {
  std::error_code error;
  fs::path found = fs::canonical(path, error);
  if (error) return std::nullopt;
  return found;
}

UsageError unresolved(const NamedPath& output, const std::string& got) {
  return UsageError(fmt::format("[{} {}] expected a place to write to, got {}; choose another path",
                                output.flag, output.path.string(), got));
}

UsageError overlap(const NamedPath& output, const std::string& how, const NamedPath& input) {
  return UsageError(
      fmt::format("[{} {}] expected a place apart from what is read, got one that {} {} {}; inputs are never "
                  "written to: choose another path",
                  output.flag, output.path.string(), how, input.flag, input.path.string()));
}

/// Where the files of an input lie: itself as it is spelt, its real path, and what links in it lead to.
std::vector<fs::path> places_of(const fs::path& input) {
  std::vector<fs::path> places = {fs::absolute(input)};
  if (const auto real = real_path(input)) places.push_back(*real);
  if (!is_folder(input)) return places;
  try {
    for (const fs::path& entry : list_directory(input))
      if (fs::is_symlink(entry))
        if (const auto real = real_path(entry)) places.push_back(*real);
  } catch (const InputError&) {
    // Who reads the folder says that it cannot be listed.
  }
  return places;
}

/// Whether this program wrote the file as the result of a verb (--json), or as token ids with their
/// description beside them.
bool is_own_result(const fs::path& path) {
  try {
    constexpr uintmax_t kLargestResult = uintmax_t{256} << 20;
    if (fs::exists(path.string() + ".json")) return read_json(path.string() + ".json").contains("tokenizer");
    if (fs::file_size(path) > kLargestResult) return false;
    const Json json = read_json(path);
    // run.json has options, too: it is what a run is resumed and reported from.
    return json.is_object() && json.contains("verb") && !json.contains("options");
  } catch (const std::exception&) {
    return false;
  }
}

/// Whether a verb could read the file where it is given the folder.
bool is_readable_kind(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension != ".html" && extension != ".csv" && extension != ".png";
}

}  // namespace

ResolvedPath resolve_output(const NamedPath& output) {
  std::error_code error;
  const fs::path all = fs::absolute(output.path, error);
  if (error) throw unresolved(output, error.message());
  ResolvedPath found = {all.root_path(), {}};
  for (const fs::path& name : all.relative_path()) {
    if (name.empty() || name == ".") continue;
    if (!found.missing.empty()) {
      if (name == "..") throw unresolved(output, "\"..\" behind a folder that does not exist");
      found.missing /= name;
      continue;
    }
    const fs::path next = found.existing / name;
    if (const auto real = real_path(next)) {
      found.existing = *real;
      continue;
    }
    struct stat info;
    if (::lstat(next.c_str(), &info) == 0)
      throw unresolved(output, next.string() + ", a link that leads nowhere");
    if (errno != ENOENT && errno != ENOTDIR)
      throw unresolved(output, fmt::format("{}: {}", next.string(), std::strerror(errno)));
    found.missing = name;
  }
  return found;
}

void require_apart(const NamedPath& output, const std::vector<NamedPath>& inputs) {
  if (output.path.empty()) return;
  const ResolvedPath resolved = resolve_output(output);
  const std::vector<Identity> around = with_parents(resolved.existing);
  const auto own = resolved.missing.empty() ? identity_of(resolved.existing) : std::nullopt;
  for (const NamedPath& input : inputs) {
    const auto identity = input.path.empty() ? std::nullopt : identity_of(input.path);
    if (!identity) continue;  // who reads it says that it is missing
    if (own == identity) throw overlap(output, "is", input);
    if (contains(around, *identity)) throw overlap(output, "lies inside", input);
    if (!own) continue;
    for (const fs::path& place : places_of(input.path))
      if (contains(with_parents(place), *own)) throw overlap(output, "holds", input);
  }
}

void prepare_output_file(const NamedPath& output, const std::vector<NamedPath>& inputs) {
  if (output.path.empty()) return;
  const ResolvedPath resolved = resolve_output(output);
  const fs::path file = resolved.whole();
  const bool exists = resolved.missing.empty();
  if (exists && !fs::is_directory(file)) {
    const auto own = identity_of(file);
    const std::vector<Identity> around = with_parents(file);
    for (const NamedPath& input : inputs) {
      const auto identity = input.path.empty() ? std::nullopt : identity_of(input.path);
      if (!identity) continue;
      if (own == identity) throw overlap(output, "is", input);
      if (contains(around, *identity) && is_readable_kind(file) && !is_own_result(file))
        throw overlap(output, "is a file of", input);
    }
    if (!fs::is_regular_file(file)) return;
  }
  make_directories(internal::parent_folder(file));
  const AtomicFileWriter probe(file);  // creates a file beside it, and removes that again
}

}  // namespace longlora
