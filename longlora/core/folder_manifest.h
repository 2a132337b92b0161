// The marker in a folder that this program wrote: which files in it are its own.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "longlora/core/json.h"

namespace longlora {

/// The list in a folder's .longlora.json: names of the files that this program put there and the fingerprint
/// of each (file_fingerprint). A file that is not in it, or has another content by now, is somebody else's:
/// it is neither replaced nor removed.
class FolderManifest {
 public:
  static constexpr const char* kName = ".longlora.json";

  /// Nothing where the folder has no marker. Throws InputError for one that cannot be understood.
  static std::optional<FolderManifest> read(const std::filesystem::path& folder);

  /// Of a folder that `verb` writes.
  explicit FolderManifest(const std::string& verb);

  const std::string& verb() const { return verb_; }
  /// Names relative to the folder, with "/" where a file lies in a subfolder.
  const std::map<std::string, std::string>& files() const { return files_; }
  /// Whether `name` was written by this program and still is what it was, in `folder`.
  bool owns(const std::filesystem::path& folder, const std::string& name) const;

  /// Adds the file as it lies in `folder` now.
  void add(const std::filesystem::path& folder, const std::string& name);
  void remove(const std::string& name) { files_.erase(name); }
  void clear() { files_.clear(); }
  std::vector<std::string> names() const;
  void write(const std::filesystem::path& folder) const;

  /// What else the verb keeps there; null where it keeps nothing.
  Json& notes() { return notes_; }
  const Json& notes() const { return notes_; }

 private:
  std::string verb_;
  std::map<std::string, std::string> files_;
  Json notes_;
};

/// Whether a file or folder of this name is what a killed run leaves of a write that was not finished.
bool is_temporary_name(const std::string& name);

/// Every file below `folder` but markers, by name relative to it, sorted. Links are files. Empty folders are
/// listed with "/" at the end. Throws InputError.
std::vector<std::string> files_below(const std::filesystem::path& folder);

/// What `folder` holds beside this program's own files and what killed runs left: names at its top; those of
/// own files whose content was changed since, with a word on that. In a marked subfolder the marker there
/// counts.
std::vector<std::string> strangers_in(const std::filesystem::path& folder);

/// "a, b, c and 12 more".
std::string list_names(const std::vector<std::string>& names);

/// Removes this program's own files in a marked folder, in marked folders inside it too, and the folder where
/// nothing else is in it. What is somebody else's stays. Returns 0 or the errno of the first failure.
int remove_own_files(const std::filesystem::path& folder);

}  // namespace longlora
