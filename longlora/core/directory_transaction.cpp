#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/file_internal.h"
#include "longlora/core/log.h"

namespace longlora {

namespace fs = std::filesystem;

namespace {

constexpr const char* kStaging = "staging";
constexpr const char* kReplaced = "replaced";

bool is_there(const fs::path& path) {
  struct stat info;
  return ::lstat(path.c_str(), &info) == 0;
}

internal::Descriptor open_folder(const fs::path& path) {
  return internal::Descriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
}

void rename_folder(const fs::path& from, const fs::path& to, const fs::path& named_in_error) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    throw write_error(named_in_error, "move the finished folder into place", errno);
}

void remove_replaced(const fs::path& old) {
  const int error_number = remove_tree(old);
  if (error_number != 0) {
    log_warning(fmt::format("the replaced folder {} could not be removed: {}", old.string(),
                            write_error(old, "remove it", error_number).what()));
  }
}

void remove_stale_staging(const fs::path& final_path) {
  for (const fs::path& stale : internal::find_siblings(final_path, kStaging)) {
    const internal::Descriptor folder = open_folder(stale);
    if (folder.is_open() && internal::try_lock(folder.get()) == internal::LockResult::kHeldElsewhere)
      continue;
    remove_tree(stale);
  }
}

}  // namespace

void internal::publish_directory(const fs::path& staging, const fs::path& final_path,
                                 Replacement replacement) {
  if (!is_there(final_path)) {
    rename_folder(staging, final_path, final_path);
    sync_directory(parent_folder(final_path));
    return;
  }
  if (replacement == Replacement::kExchangeWhenPossible &&
      ::renameat2(AT_FDCWD, staging.c_str(), AT_FDCWD, final_path.c_str(), RENAME_EXCHANGE) == 0) {
    sync_directory(parent_folder(final_path));
    remove_replaced(staging);
    return;
  }
  const fs::path aside = sibling_name(final_path, kReplaced);
  rename_folder(final_path, aside, final_path);
  if (::rename(staging.c_str(), final_path.c_str()) != 0) {
    const int error_number = errno;
    ::rename(aside.c_str(), final_path.c_str());
    throw write_error(final_path, "move the finished folder into place", error_number);
  }
  sync_directory(parent_folder(final_path));
  remove_replaced(aside);
}

void repair_directory(const fs::path& path) {
  const fs::path final_path = internal::resolve_target(path);
  for (const fs::path& aside : internal::find_siblings(final_path, kReplaced)) {
    if (!is_there(final_path)) {
      rename_folder(aside, final_path, final_path);
      log_warning(fmt::format("restored {} after an interrupted replacement", final_path.string()));
    } else {
      remove_tree(aside);
    }
  }
}

DirectoryTransaction::DirectoryTransaction(const fs::path& final_path)
    : final_path_(internal::resolve_target(final_path)) {
  struct stat info;
  if (::stat(final_path_.c_str(), &info) == 0 && !S_ISDIR(info.st_mode))
    throw write_error(final_path_, "write a folder", ENOTDIR);
  make_directories(internal::parent_folder(final_path_));
  repair_directory(final_path_);
  remove_stale_staging(final_path_);
  while (true) {
    staging_ = sibling_name(final_path_, kStaging);
    if (::mkdir(staging_.c_str(), 0777) != 0) {
      if (errno == EEXIST) continue;
      throw write_error(final_path_, "create a folder beside it", errno);
    }
    internal::Descriptor folder = open_folder(staging_);
    if (!folder.is_open()) {
      const int error_number = errno;
      if (error_number == ENOENT) continue;  // before it was locked, another process took it for stale
      ::rmdir(staging_.c_str());
      throw write_error(final_path_, "open a folder just made beside it", error_number);
    }
    if (internal::try_lock(folder.get()) == internal::LockResult::kHeldElsewhere) continue;
    if (!is_there(staging_)) continue;
    lock_ = folder.release();
    return;
  }
}

DirectoryTransaction::~DirectoryTransaction() {
  if (!committed_) remove_tree(staging_);
  if (lock_ >= 0) ::close(lock_);
}

void DirectoryTransaction::commit() {
  if (committed_) throw Error("[DirectoryTransaction] expected one commit(), got a second");
  internal::sync_tree(staging_);
  internal::publish_directory(staging_, final_path_);
  committed_ = true;
}

}  // namespace longlora
