// Files: memory-mapped reading, and writing that either happens whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longlora {

/// A file mapped read-only for as long as the object lives. Move-only.
/// Throws InputError when the file is missing, unreadable or not a regular file.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  const std::filesystem::path& path() const { return path_; }
  /// Tells the system that a range inside bytes() is no longer needed. Its pages stop counting as memory of
  /// this process (the system may keep them) and are read again when touched. A range below 64 KiB is not
  /// worth the call, and stays.
  void release(size_t offset, size_t num_bytes) const;
  /// Asks the system to read a range inside bytes() ahead.
  void will_need(size_t offset, size_t num_bytes) const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// The content of a whole file. Throws InputError.
std::string read_file(const std::filesystem::path& path);

/// Writes to a temporary sibling, syncs it and renames it over `path`: a reader
/// sees the old file or the new one. On failure (disk full, no permission) the
/// temporary is removed and ResourceError names path and cause.
void write_file_atomic(const std::filesystem::path& path, std::string_view bytes);

/// Who may read a file that is written.
enum class FileReaders { kAsUmaskSays, kOwnerAlone };

/// Writes a file piece by piece with the same promise: nothing appears at `path` until commit(), and an
/// object that is destroyed without it removes its temporary. A temporary that a killed process left is
/// removed by the next writer of the same path. Where `path` is a link, the file that it leads to is
/// replaced; a device, a pipe or an open stream (/dev/stdout, whatever it leads to) is written to, not
/// replaced. There is no buffer: write in pieces of some kilobytes.
class AtomicFileWriter {
 public:
  explicit AtomicFileWriter(const std::filesystem::path& path,
                            FileReaders readers = FileReaders::kAsUmaskSays);
  ~AtomicFileWriter();
  AtomicFileWriter(const AtomicFileWriter&) = delete;
  AtomicFileWriter& operator=(const AtomicFileWriter&) = delete;
  void write(const void* data, size_t num_bytes);
  /// Brings what was written so far to the disk. Then only the renaming can still fail in commit().
  void sync();
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

/// A folder that is built aside and published by one rename. Files are written under staging(). commit()
/// syncs every file and the folder, then renames the folder to the final path; a folder that exists there is
/// renamed aside first and removed last. An object that is destroyed without commit() removes its staging
/// folder. Staging folders that a killed process left (".NAME.staging*") are removed by the next
/// DirectoryTransaction for the same path.
class DirectoryTransaction {
 public:
  explicit DirectoryTransaction(const std::filesystem::path& final_path);
  ~DirectoryTransaction();
  DirectoryTransaction(const DirectoryTransaction&) = delete;
  DirectoryTransaction& operator=(const DirectoryTransaction&) = delete;
  const std::filesystem::path& staging() const { return staging_; }
  void commit();

 private:
  std::filesystem::path final_path_;
  std::filesystem::path staging_;
  int lock_ = -1;  // marks the staging folder as in use until this process ends
  bool committed_ = false;
};

/// Puts back the old folder when a process was killed after renaming it aside
/// and before the new one took its place. DirectoryTransaction does this for its
/// path; a reader that finds a folder missing may call it first.
void repair_directory(const std::filesystem::path& final_path);

/// The paths of what a folder holds, sorted, without what lies in its subfolders. Throws InputError.
std::vector<std::filesystem::path> list_directory(const std::filesystem::path& path);

/// Creates the folder and its parents. Throws ResourceError with the cause.
void make_directories(const std::filesystem::path& path);

/// The SHA-256 of the bytes in lower-case hexadecimal.
std::string sha256_hex(std::string_view bytes);

}  // namespace longlora
