#include "longlora/core/folder_manifest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/file_operations.h"
#include "longlora/core/output_folder.h"
#include "longlora/core/sha256.h"

namespace longlora {
namespace {

namespace fs = std::filesystem;

constexpr const char* kProgram = "longlora";

bool is_real_folder(const fs::path& path) {
  struct stat info;
  return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

bool is_marked(const fs::path& folder) {
  struct stat info;
  return ::lstat((folder / FolderManifest::kName).c_str(), &info) == 0;
}

// The name of the file that a temporary of this name stands for; nothing for other names. A writer calls its
// temporaries ".NAME.KIND-PROCESS-NUMBER" (sibling_name).
std::optional<std::string> name_behind_temporary(const std::string& name) {
  std::string rest = name;
  for (int i = 0; i < 2; ++i) {
    const size_t last = rest.find_last_not_of("0123456789");
    if (last == std::string::npos || last + 1 == rest.size() || rest[last] != '-') return std::nullopt;
    rest.resize(last);
  }
  for (const std::string kind : {".partial", ".staging", ".replaced", ".removed"})
    if (rest.starts_with('.') && rest.ends_with(kind) && rest.size() > kind.size() + 1)
      return rest.substr(1, rest.size() - kind.size() - 1);
  return std::nullopt;
}

// Whether the file or folder `name` in `prefix` of a folder is certainly what a killed run of this program
// left there: a temporary of the marker, of a file that `manifest` lists, or of files that were to be added.
bool is_own_temporary(const std::optional<FolderManifest>& manifest, const std::string& prefix,
                      const std::string& name) {
  const auto whole = name_behind_temporary(name);
  if (!whole) return false;
  if (prefix.empty() && (*whole == FolderManifest::kName || *whole == AddedFiles::kStagingName)) return true;
  return manifest && manifest->files().count(prefix + *whole) != 0;
}

// Calls visit(path, name) for every file and empty folder below `folder` but markers and what killed runs
// left; stops at marked subfolders where `into_marked` is false and hands those over whole.
template <typename Visit>
void visit_below(const fs::path& folder, const std::string& prefix, bool into_marked,
                 const std::optional<FolderManifest>& manifest, const Visit& visit) {
  for (const fs::path& path : list_directory(folder)) {
    const std::string name = prefix + path.filename().string();
    if (path.filename() == FolderManifest::kName ||
        is_own_temporary(manifest, prefix, path.filename().string()))
      continue;
    if (!is_real_folder(path) || (!into_marked && is_marked(path)))
      visit(path, name);
    else if (list_directory(path).empty())
      visit(path, name + "/");
    else
      visit_below(path, name + "/", into_marked, manifest, visit);
  }
}

// Removes the folders that became empty, from the one of `name` upwards; `folder` itself stays.
void remove_empty_parents(const fs::path& folder, const std::string& name) {
  for (fs::path parent = fs::path(name).parent_path(); !parent.empty(); parent = parent.parent_path())
    if (::rmdir((folder / parent).c_str()) != 0) return;
}

}  // namespace

FolderManifest::FolderManifest(const std::string& verb) : verb_(verb) {}

bool is_temporary_name(const std::string& name) {
  return name_behind_temporary(name).has_value();
}

std::optional<FolderManifest> FolderManifest::read(const fs::path& folder) {
  if (!is_marked(folder)) return std::nullopt;
  const fs::path path = folder / kName;
  const Json json = read_json(path);
  try {
    if (json.at("program") != kProgram) throw InputError("");
    FolderManifest found(json.at("verb").get<std::string>());
    for (const auto& [name, fingerprint] : json.at("files").items())
      found.files_[name] = fingerprint.get<std::string>();
    found.notes_ = json.value("notes", Json());
    return found;
  } catch (const std::exception&) {
    throw InputError(
        fmt::format("[{}] expected this program's list of the files that it wrote there, got "
                    "something else; choose another folder",
                    path.string()));
  }
}

bool FolderManifest::owns(const fs::path& folder, const std::string& name) const {
  const auto found = files_.find(name);
  struct stat info;
  if (found == files_.end() || ::lstat((folder / name).c_str(), &info) != 0 || !S_ISREG(info.st_mode))
    return false;
  return file_fingerprint(folder / name) == found->second;
}

std::vector<std::string> FolderManifest::names() const {
  std::vector<std::string> found;
  for (const auto& [name, fingerprint] : files_) found.push_back(name);
  return found;
}

void FolderManifest::add(const fs::path& folder, const std::string& name) {
  files_[name] = file_fingerprint(folder / name);
}

void FolderManifest::write(const fs::path& folder) const {
  Json files = Json::object();
  for (const auto& [name, fingerprint] : files_) files[name] = fingerprint;
  Json json = {{"program", kProgram},
               {"about", "Files that longlora wrote here. It replaces or removes no others."},
               {"verb", verb_},
               {"files", files}};
  if (!notes_.is_null()) json["notes"] = notes_;
  write_json(folder / kName, json);
}

std::vector<std::string> files_below(const fs::path& folder) {
  std::vector<std::string> names;
  visit_below(folder, "", /*into_marked=*/true, std::nullopt,
              [&](const fs::path&, const std::string& name) { names.push_back(name); });
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> strangers_in(const fs::path& folder) {
  const auto manifest = FolderManifest::read(folder);
  std::set<std::string> strangers;
  visit_below(
      folder, "", /*into_marked=*/false, manifest, [&](const fs::path& path, const std::string& name) {
        if (is_real_folder(path)) {
          strangers.insert(is_marked(path) ? name + " (another result)" : name.substr(0, name.find('/')));
          return;
        }
        if (manifest && manifest->owns(folder, name)) return;
        if (manifest && manifest->files().count(name) != 0)
          strangers.insert(name + " (changed since it was written)");
        else
          strangers.insert(name.substr(0, name.find('/')));
      });
  return {strangers.begin(), strangers.end()};
}

std::string list_names(const std::vector<std::string>& names) {
  constexpr size_t kShown = 8;
  if (names.size() <= kShown) return fmt::format("{}", fmt::join(names, ", "));
  return fmt::format("{} and {} more", fmt::join(names.begin(), names.begin() + kShown, ", "),
                     names.size() - kShown);
}

int remove_own_files(const fs::path& folder) {
  const auto manifest = FolderManifest::read(folder);
  if (!manifest) return 0;
  int first_error = 0;
  const auto note = [&](int error_number) {
    if (first_error == 0) first_error = error_number;
  };
  visit_below(folder, "", /*into_marked=*/false, manifest,
              [&](const fs::path& path, const std::string& name) {
                if (!manifest->owns(folder, name)) return;
                note(::unlink(path.c_str()) == 0 ? 0 : errno);
                remove_empty_parents(folder, name);
              });
  for (const fs::path& path : list_directory(folder))
    if (is_own_temporary(manifest, "", path.filename().string())) note(remove_tree(path));
  // The marker goes last, so that a removal that was cut short can be ended.
  const auto left = list_directory(folder);
  if (left.size() > 1) return first_error;
  if (::unlink((folder / FolderManifest::kName).c_str()) != 0) note(errno);
  if (::rmdir(folder.c_str()) != 0) note(errno);
  return first_error;
}

}  // namespace longlora
