// A lock that lets one process at a time write into an output folder.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace longlora {

/// The lock on a folder into which this process writes. It ends with the object, and with the process,
/// however that ends.
class FolderLock {
 public:
  /// `made` names the folders that did not exist before, outermost first.
  FolderLock(int descriptor, std::vector<std::filesystem::path> made);
  /// Removes those of the `made` folders that are still empty.
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_;
  std::vector<std::filesystem::path> made_;
};

/// Makes the folder where it is missing, and takes its lock. Where this process holds the lock already, it
/// gets the same one again. Throws UsageError naming `flag` when another process holds it, and ResourceError
/// when the folder cannot be made. On a file system without locks the function warns and goes on. Not for
/// several threads at once.
std::shared_ptr<FolderLock> lock_folder(const std::string& flag, const std::filesystem::path& folder);

}  // namespace longlora
