// One writer for an output folder.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace longlora {

/// Held while this process writes into a folder; ends with the object, and with the process however it ends.
class FolderLock {
 public:
  /// `made` are the folders that did not exist before, outermost first.
  FolderLock(int descriptor, std::vector<std::filesystem::path> made);
  /// Folders that were made for it and hold nothing are removed again.
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_;
  std::vector<std::filesystem::path> made_;
};

/// Makes the folder where it is missing and takes its lock; the same lock again where this process holds it
/// already. Throws UsageError naming `flag` when another process holds it, ResourceError when the folder
/// cannot be made. On a file system without locks it warns and goes on. Not for several threads at once.
std::shared_ptr<FolderLock> lock_folder(const std::string& flag, const std::filesystem::path& folder);

}  // namespace longlora
