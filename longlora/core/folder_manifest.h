// The marker in a folder that this program wrote. It says which files in the folder are the program's own.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "longlora/core/json.h"

namespace longlora {

/// The list in a folder's .longlora.json: the names of the files that this program put there, and the
/// fingerprint of each (file_fingerprint). A file that is not in the list, or whose content is another by
/// now, belongs to somebody else: it is neither replaced nor removed.
class FolderManifest {
 public:
  static constexpr const char* kName = ".longlora.json";

  /// Returns nullopt where the folder has no marker. Throws InputError for a marker that cannot be
  /// understood.
  static std::optional<FolderManifest> read(const std::filesystem::path& folder);

  /// A list without files, for a folder that `verb` writes.
  explicit FolderManifest(const std::string& verb);

  const std::string& verb() const { return verb_; }
  /// Fingerprints by name. Names are relative to the folder, with "/" where a file lies in a subfolder.
  const std::map<std::string, std::string>& files() const { return files_; }
  /// Whether this program wrote the file `name` in `folder` and nobody has changed it since.
  bool owns(const std::filesystem::path& folder, const std::string& name) const;

  /// Adds a file of `folder` with the content that it has now.
  void add(const std::filesystem::path& folder, const std::string& name);
  void remove(const std::string& name) { files_.erase(name); }
  void clear() { files_.clear(); }
  std::vector<std::string> names() const;
  void write(const std::filesystem::path& folder) const;

  /// What the verb wants to keep beside the list; null where it keeps nothing.
  Json& notes() { return notes_; }
  const Json& notes() const { return notes_; }

 private:
  std::string verb_;
  std::map<std::string, std::string> files_;
  Json notes_;
};

/// Whether a killed run could have left a file or folder of this name of a write that was not finished. Who
/// removes one has to know more: a user may have chosen such a name.
bool is_temporary_name(const std::string& name);

/// Every file below `folder` but markers and their temporaries, by name relative to it, sorted. Links are
/// files. Empty folders are listed with "/" at the end. Throws InputError.
std::vector<std::string> files_below(const std::filesystem::path& folder);

/// What `folder` holds beside the files that its marker lists and what killed runs certainly left of them:
/// names at its top; those of listed files whose content was changed since, with a word on that; subfolders
/// that have a marker of their own, which are other results, with a word on that.
std::vector<std::string> strangers_in(const std::filesystem::path& folder);

/// The names as text: "a, b, c and 12 more".
std::string list_names(const std::vector<std::string>& names);

/// Removes the files that the marker of a folder lists, and the folder where nothing else is in it.
/// Everything else stays, a subfolder with a marker of its own too. Returns 0 or the errno of the first
/// failure.
int remove_own_files(const std::filesystem::path& folder);

}  // namespace longlora
