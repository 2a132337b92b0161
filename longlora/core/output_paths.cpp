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
#include "longlora/core/folder_manifest.h"
#include "longlora/core/json.h"

namespace longlora {
namespace {

namespace fs = std::filesystem;

// What tells a file or folder on the disk from all others, however its path is spelt.
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

// The identities of a path and of every folder above it.
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

// The places where files of an input lie: the path as it is spelt, its real path, and what links inside it
// lead to.
std::vector<fs::path> places_of(const fs::path& input) {
  std::vector<fs::path> places = {fs::absolute(input)};
  if (const auto real = real_path(input)) places.push_back(*real);
  if (!is_folder(input)) return places;
  try {
    for (const fs::path& entry : list_directory(input))
      if (fs::is_symlink(entry))
        if (const auto real = real_path(entry)) places.push_back(*real);
  } catch (const InputError&) {
    // That the folder cannot be listed is said by whoever reads it.
  }
  return places;
}

// A file to be written, and where that is.
struct Place {
  const OutputFile* output;
  fs::path path;
};

UsageError refused(const OutputFile& output, const std::string& reason) {
  return UsageError(fmt::format("[{} {}] {}", output.flag, output.path.string(), reason));
}

// Whether a file of this name may be part of the model or run that a command writes, which is made up of
// files of this program and of those that are copied from the inputs.
bool is_name_of_result(const fs::path& name, const fs::path& folder, const std::vector<NamedPath>& inputs) {
  const std::string text = name.string();
  for (const char* end : {".safetensors", ".bin", ".bin.json", ".index.json", ".pt", ".pth", ".model",
                          ".jinja", ".jsonl", ".py", ".tiktoken", "config.json"})
    if (text.ends_with(end)) return true;
  for (const char* known : {"run.json", "trainer_state.json", "params.json", "vocab.json", "prompt_form.json",
                            "special_tokens_map.json", "added_tokens.json", "chat_template.json"})
    if (text == known) return true;
  if (name.has_parent_path() || text.starts_with('.') || text.starts_with("tokenizer")) return true;
  return std::any_of(inputs.begin(), inputs.end(), [&](const NamedPath& input) {
    return is_folder(input.path) && identity_of(input.path) != identity_of(folder) &&
           identity_of(input.path / name).has_value();
  });
}

// Throws where an existing file may not be replaced.
void require_replaceable(const OutputFile& output, const fs::path& file,
                         const std::vector<NamedPath>& inputs) {
  const NamedPath named = {output.flag, output.path};
  const auto own = identity_of(file);
  const std::vector<Identity> around = with_parents(file);
  for (const NamedPath& input : inputs)
    if (!input.path.empty() && own == identity_of(input.path)) throw overlap(named, "is", input);
  if (output.is_earlier_result(file)) return;
  for (const NamedPath& input : inputs) {
    const auto identity = input.path.empty() ? std::nullopt : identity_of(input.path);
    if (identity && contains(around, *identity)) throw overlap(named, "is a file of", input);
  }
  if (fs::file_size(file) > 0)
    throw refused(output,
                  "expected a new file or an earlier result of this kind, got a file of other content, which "
                  "is not replaced; choose another path, or remove it");
}

// Whether `path` is `folder` or lies beneath it.
bool is_at_or_beneath(const fs::path& path, const fs::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first == folder.end();
}

// Throws where two of the outputs of a command would get in each other's way.
void require_distinct(const std::vector<Place>& places, const NamedPath& folder,
                      const std::vector<NamedPath>& inputs) {
  const auto claim = [](const Place& place, const std::string& flag, const fs::path& path) {
    return refused(*place.output,
                   fmt::format("expected a place of its own, got that of {} {}; choose another "
                               "path",
                               flag, path.string()));
  };
  for (const Place& a : places)
    for (const Place& b : places)
      if (&a != &b && (is_at_or_beneath(a.path, b.path) ||
                       (identity_of(a.path) && identity_of(a.path) == identity_of(b.path))))
        throw claim(a, b.output->flag, b.output->path);
  if (folder.path.empty()) return;
  const fs::path own = resolve_output(folder).whole();
  for (const Place& place : places) {
    if (is_at_or_beneath(own, place.path)) throw claim(place, folder.flag, folder.path);
    if (is_at_or_beneath(place.path, own) &&
        is_name_of_result(place.path.lexically_relative(own), own, inputs))
      throw refused(
          *place.output,
          fmt::format("expected a name that the result in {} {} cannot have, got one that it may have; "
                      "choose another name, like result.json, or another folder",
                      folder.flag, folder.path.string()));
  }
}

// Where a file goes that is neither a device nor a stream; nothing for those.
std::optional<Place> place_of(const OutputFile& output) {
  if (output.path.empty() || internal::descriptor_behind(output.path)) return std::nullopt;
  if (output.path == "-")
    throw refused(
        output,
        "expected a file; name /dev/stdout to write to standard output, or ./- for a file of that name");
  const fs::path file = resolve_output({output.flag, output.path}).whole();
  if (fs::is_directory(file) || !output.path.has_filename())
    throw refused(output, "expected a file, got a folder; name a file in it");
  std::error_code ignored;
  if (fs::exists(file, ignored) && !fs::is_regular_file(file)) return std::nullopt;
  return Place{&output, file};
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
    if (!identity) continue;  // whoever reads it says that it is missing
    if (own == identity) throw overlap(output, "is", input);
    if (contains(around, *identity)) throw overlap(output, "lies inside", input);
    if (!own) continue;
    for (const fs::path& place : places_of(input.path))
      if (contains(with_parents(place), *own)) throw overlap(output, "holds", input);
  }
}

bool is_result_json(const fs::path& file) {
  constexpr uintmax_t kLargestResult = uintmax_t{256} << 20;
  try {
    if (fs::file_size(file) > kLargestResult || file.filename() == FolderManifest::kName) return false;
    const Json json = read_json(file);
    if (!json.is_object()) return false;
    if (json.value("format", Json()) == "longlora token file") return true;
    // run.json has options, too: it is what a run is resumed and reported from.
    return json.contains("verb") && !json.contains("options");
  } catch (const std::exception&) {
    return false;
  }
}

void prepare_output_files(const std::vector<OutputFile>& files, const std::vector<NamedPath>& inputs,
                          const NamedPath& folder) {
  std::vector<Place> places;
  for (const OutputFile& file : files)
    if (const auto place = place_of(file)) places.push_back(*place);
  require_distinct(places, folder, inputs);
  for (const Place& place : places)
    if (identity_of(place.path)) require_replaceable(*place.output, place.path, inputs);
  for (const Place& place : places) {
    make_directories(internal::parent_folder(place.path));
    const AtomicFileWriter probe(place.path);  // creates a file beside it, and removes that again
  }
}

}  // namespace longlora
