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
  /// Whether an earlier result of this program in the folder is replaced. Files of others never are.
  bool overwrite = false;
  /// The file that the same command writes its result to (--json). Where it lies in the folder, it does not
  /// count as somebody else's.
  std::filesystem::path result_file = {};
};

/// A new folder, or one in the place of an earlier result. Files are written under staging(). commit() marks
/// them as this program's (FolderManifest) and makes the folder appear at once; only then is an earlier
/// result removed. An object that is destroyed without commit() leaves everything as it was. The folder is
/// locked for as long as the object lives.
class OutputFolder {
 public:
  /// Throws UsageError, before anything is changed, where the folder is, holds or lies inside an input, where
  /// it is a file or another process is writing it, and where it holds anything that may not be replaced,
  /// which the message names. Throws ResourceError where the folder cannot be written.
  explicit OutputFolder(FolderClaim claim);

  const std::filesystem::path& staging() const { return transaction_->staging(); }
  /// Throws UsageError when somebody put a file into the folder in the meantime.
  void commit();

 private:
  FolderClaim claim_;
  std::shared_ptr<FolderLock> lock_;
  std::unique_ptr<DirectoryTransaction> transaction_;
};

/// Files of one result that are put into a folder beside what is there already. They are written under
/// staging() first. commit() renames them into place one after another, those named in `last` at the end:
/// without these nobody reads the others. So a killed process leaves either nothing under the names of
/// `last`, or the whole result.
class AddedFiles {
 public:
  /// The name of the staging folder, around which DirectoryTransaction puts its own marks.
  static constexpr const char* kStagingName = "longlora-result";

  /// `manifest` is the list of `folder`, which this object keeps up to date. `earlier` names the files of the
  /// earlier result. Those of them that the manifest lists are replaced, or removed where the new result has
  /// no such file.
  AddedFiles(const std::filesystem::path& folder, FolderManifest& manifest, std::vector<std::string> earlier);

  const std::filesystem::path& staging() const { return transaction_.staging(); }
  /// Throws UsageError, with nothing changed, where files that are not of the earlier result are in the way;
  /// the message names them.
  void commit(const std::vector<std::string>& last);

 private:
  void remove_earlier(const std::vector<std::string>& last);

  std::filesystem::path folder_;
  FolderManifest& manifest_;  // outlives this object
  std::vector<std::string> earlier_;
  DirectoryTransaction transaction_;  // is never committed, so that its folder goes away by itself
};

/// Those of `names` that exist in `folder` already, except unchanged files of the earlier result, whose names
/// are `earlier`.
std::vector<std::string> names_in_the_way(const std::filesystem::path& folder, const FolderManifest& manifest,
                                          const std::vector<std::string>& earlier,
                                          const std::vector<std::string>& names);

}  // namespace longlora
