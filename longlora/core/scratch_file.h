// A file that exists only while a process uses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace longlora {

/// Space on a disk for what does not fit into memory. The file has no name: however the process ends, the
/// file is gone. Several threads may read and write different ranges at once. Neither copied nor moved.
class ScratchFile {
 public:
  /// Reserves `num_bytes` in `folder`, which exists. Throws ResourceError when the disk does not have that
  /// much left, and when the folder is not writable or lies in memory (tmpfs).
  ScratchFile(const std::filesystem::path& folder, int64_t num_bytes);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  /// Writes bytes and begins to bring them to the disk. Throws ResourceError with folder and cause.
  void write(int64_t offset, const void* data, int64_t num_bytes);
  /// Reads a range that has been written; the system's cache does not keep it. Throws ResourceError.
  void read(int64_t offset, void* data, int64_t num_bytes) const;

 private:
  friend class ScratchMemory;

  std::filesystem::path folder_;
  int descriptor_ = -1;
};

/// Memory whose content lies in a scratch file. Pages become resident when they are touched and count as
/// memory of this process until they are released; where the system has room it keeps them in its cache. A
/// disk that fails while the memory is in use ends the process with a message (mapped_ranges.h).
class ScratchMemory {
 public:
  /// The memory begins as zeros. Throws as ScratchFile does.
  ScratchMemory(const std::filesystem::path& folder, int64_t num_bytes);
  ~ScratchMemory();
  ScratchMemory(const ScratchMemory&) = delete;
  ScratchMemory& operator=(const ScratchMemory&) = delete;

  std::byte* data() const { return data_; }
  int64_t num_bytes() const { return num_bytes_; }
  /// Tells the system that a range is not needed for now; its content stays.
  void release(int64_t offset, int64_t num_bytes) const;
  /// Asks the system to read a range ahead.
  void will_need(int64_t offset, int64_t num_bytes) const;

 private:
  void advise(int64_t offset, int64_t num_bytes, int advice) const;

  std::byte* data_ = nullptr;
  int64_t num_bytes_ = 0;
};

}  // namespace longlora
