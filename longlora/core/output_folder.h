// Folders that verbs write: claimed before the work, published when it is done.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "longlora/core/file.h"
#include "longlora/core/folder_lock.h"
#include "longlora/core/folder_manifest.h"
#include "longlora/core/output_paths.h"

namespace longlora {

/// A folder that a verb writes as a whole.
struct FolderClaim {
  NamedPath output;
  std::string verb;
  std::vector<NamedPath> inputs;
  /// Whether an earlier result of this program there is replaced. What else lies there never is.
  bool overwrite = false;
  /// A result file of the same command (--json): where it lies in the folder, it is no stranger there.
  std::filesystem::path result_file = {};
};

/// A new folder, or one in the place of an earlier result. Files are written under staging(); commit() marks
/// them as this program's (FolderManifest) and makes the folder appear at once; an earlier result goes only
/// then. Destroyed without commit(), everything is as it was. The folder is locked meanwhile.
class OutputFolder {
 public:
  /// Throws UsageError, before anything is changed, where the folder is, holds or lies inside an input, is a
  /// file, is being written by another process, or holds anything that may not be replaced, which it names;
  /// ResourceError where it cannot be written.
  explicit OutputFolder(FolderClaim claim);

  const std::filesystem::path& staging() const { return transaction_->staging(); }
  /// Throws UsageError when somebody put a file into the folder in the meantime.
  void commit();

 private:
  FolderClaim claim_;
  std::shared_ptr<FolderLock> lock_;
  std::unique_ptr<DirectoryTransaction> transaction_;
};

/// Files that are put into a folder beside what is there, as one: written under staging() first, then renamed
/// into place one after another, with those of `last` at the end, until which nothing reads the others. A
/// killed process leaves either nothing under the names of `last` or the whole.
class AddedFiles {
 public:
  /// What the folder for files in the making is called, but for what DirectoryTransaction puts around it.
  static constexpr const char* kStagingName = "longlora-result";

  /// `manifest` is that of `folder`, and is kept up to date. `earlier` are the names that the result had
  /// before, of which those that the manifest lists are replaced or, where there is no new file, removed.
  AddedFiles(const std::filesystem::path& folder, FolderManifest& manifest, std::vector<std::string> earlier);

  const std::filesystem::path& staging() const { return transaction_.staging(); }
  /// Throws UsageError naming the files in the way that are not of the earlier result; nothing is changed
  /// then.
  void commit(const std::vector<std::string>& last);

 private:
  void remove_earlier(const std::vector<std::string>& last);

  std::filesystem::path folder_;
  FolderManifest& manifest_;  // lives longer
  std::vector<std::string> earlier_;
  DirectoryTransaction transaction_;  // only ever used as a folder that goes away by itself
};

/// Those of `names` that are in `folder` and not unchanged files of an earlier result, whose names are
/// `earlier`.
std::vector<std::string> names_in_the_way(const std::filesystem::path& folder, const FolderManifest& manifest,
                                          const std::vector<std::string>& earlier,
                                          const std::vector<std::string>& names);

}  // namespace longlora
