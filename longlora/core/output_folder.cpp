#include "longlora/core/output_folder.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "longlora/core/error.h"
#include "longlora/core/file_internal.h"

namespace longlora {
namespace {

namespace fs = std::filesystem;

// Whether a disk is mounted at the folder, which is why it could not be renamed.
bool is_mount_point(const fs::path& folder) {
  struct stat own, parent;
  return ::stat(folder.c_str(), &own) == 0 && ::stat((folder / "..").c_str(), &parent) == 0 &&
         (own.st_dev != parent.st_dev || own.st_ino == parent.st_ino);
}

std::string describe(const NamedPath& output) {
  return fmt::format("[{} {}]", output.flag, output.path.string());
}

std::vector<std::string> strangers_beside(const fs::path& folder, const fs::path& result_file) {
  std::vector<std::string> strangers = strangers_in(folder);
  std::error_code ignored;
  if (!result_file.empty() && fs::equivalent(fs::absolute(result_file).parent_path(), folder, ignored))
    std::erase(strangers, result_file.filename().string());
  return strangers;
}

// Throws where an existing folder holds what may not be replaced.
void check_holdings(const FolderClaim& claim, const fs::path& folder) {
  const auto manifest = FolderManifest::read(folder);
  const auto strangers = strangers_beside(folder, claim.result_file);
  if (!strangers.empty())
    throw UsageError(
        fmt::format("{} expected a new or empty directory, got one that holds {}, which is {}; nothing of "
                    "that is replaced: move it away or choose another path",
                    describe(claim.output), list_names(strangers),
                    manifest ? fmt::format("no part of the result of {} there", manifest->verb())
                             : "no listed result of this program there"));
  if (claim.overwrite || !manifest) return;
  throw UsageError(
      fmt::format("{} expected a new or empty directory; add --overwrite True to replace the result of {} "
                  "that it holds, or choose another path",
                  describe(claim.output), manifest->verb()));
}

void rename_into(const fs::path& from, const fs::path& folder, const std::string& name) {
  const fs::path to = folder / name;
  make_directories(to.parent_path());
  if (::rename(from.c_str(), to.c_str()) != 0)
    throw write_error(to, "move a finished file into place", errno);
}

}  // namespace

OutputFolder::OutputFolder(FolderClaim claim) : claim_(std::move(claim)) {
  require_apart(claim_.output, claim_.inputs);
  const fs::path folder = resolve_output(claim_.output).whole();
  struct stat info;
  const bool exists = ::stat(folder.c_str(), &info) == 0;
  if (exists && !S_ISDIR(info.st_mode))
    throw UsageError(fmt::format("{} expected a new or empty directory, got a file; choose another path",
                                 describe(claim_.output)));
  if (exists) check_holdings(claim_, folder);
  if (exists && is_mount_point(folder))
    throw UsageError(
        fmt::format("{} expected a folder that can be replaced, got one where a disk is mounted; "
                    "name a folder in it",
                    describe(claim_.output)));
  lock_ = lock_folder(claim_.output.flag, folder);
  transaction_ = std::make_unique<DirectoryTransaction>(folder);
}

void OutputFolder::commit() {
  const fs::path folder = resolve_output(claim_.output).whole();
  FolderManifest manifest(claim_.verb);
  for (const std::string& name : files_below(staging()))
    if (!name.ends_with('/')) manifest.add(staging(), name);
  manifest.write(staging());
  check_holdings(claim_, folder);
  transaction_->commit();
}

AddedFiles::AddedFiles(const fs::path& folder, FolderManifest& manifest, std::vector<std::string> earlier)
    : folder_(folder),
      manifest_(manifest),
      earlier_(std::move(earlier)),
      transaction_(folder / kStagingName) {}

std::vector<std::string> names_in_the_way(const fs::path& folder, const FolderManifest& manifest,
                                          const std::vector<std::string>& earlier,
                                          const std::vector<std::string>& names) {
  std::vector<std::string> found;
  for (const std::string& name : names) {
    struct stat info;
    const bool is_earlier = std::find(earlier.begin(), earlier.end(), name) != earlier.end();
    if (::lstat((folder / name).c_str(), &info) == 0 && !(is_earlier && manifest.owns(folder, name)))
      found.push_back(name);
  }
  return found;
}

// Removes the files named in `last` first: the others are no result without them.
void AddedFiles::remove_earlier(const std::vector<std::string>& last) {
  const auto is_last = [&](const std::string& name) {
    return std::find(last.begin(), last.end(), name) != last.end();
  };
  std::stable_partition(earlier_.begin(), earlier_.end(), is_last);
  for (const std::string& name : earlier_) {
    if (manifest_.owns(folder_, name) && ::unlink((folder_ / name).c_str()) != 0)
      throw write_error(folder_ / name, "remove an earlier result", errno);
    manifest_.remove(name);
  }
}

void AddedFiles::commit(const std::vector<std::string>& last) {
  internal::sync_tree(staging());
  std::vector<std::string> names = files_below(staging());
  std::erase_if(names, [](const std::string& name) { return name.ends_with('/'); });
  if (const auto found = names_in_the_way(folder_, manifest_, earlier_, names); !found.empty())
    throw UsageError(fmt::format(
        "[{}] expected no files of other origin under the names of the result, got {}; they are left "
        "as they are: move them away",
        folder_.string(), list_names(found)));
  // Files go into place in the order of `last`, after all that it does not name.
  const auto place = [&](const std::string& name) {
    const auto found = std::find(last.begin(), last.end(), name);
    return found == last.end() ? -1 : found - last.begin();
  };
  std::stable_sort(names.begin(), names.end(),
                   [&](const std::string& a, const std::string& b) { return place(a) < place(b); });
  remove_earlier(last);
  for (const std::string& name : names) manifest_.add(staging(), name);
  manifest_.write(
      folder_);  // comes before the files: whatever happens then, they are known as this program's
  for (const std::string& name : names) rename_into(staging() / name, folder_, name);
  sync_directory(folder_);
}

}  // namespace longlora
