// A file that exists only while a process uses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace longlora {

/// Space on a disk for what does not fit memory. The file has no name: however the process ends, it is
/// gone. Reading and writing different ranges from several threads is safe. Move-free.
class ScratchFile {
 public:
  /// Reserves `num_bytes` in `folder`, which exists. Throws ResourceError when the disk has not that much
  /// left, the folder is not writable, or lies in memory (tmpfs).
  ScratchFile(const std::filesystem::path& folder, int64_t num_bytes);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  /// Throws ResourceError with folder and cause. Starts bringing the bytes to the disk.
  void write(int64_t offset, const void* data, int64_t num_bytes);
  /// The range has been written. Throws ResourceError. What was read leaves the system's cache.
  void read(int64_t offset, void* data, int64_t num_bytes) const;

 private:
  friend class ScratchMemory;

  std::filesystem::path folder_;
  int descriptor_ = -1;
};

/// Memory that lies in such a file. Pages become resident when they are touched and count as memory of this
/// process until they are released; where the system has room it keeps them in its cache. A disk that fails
/// while the memory is in use ends the process, with a message in the program (mapped_ranges.h).
class ScratchMemory {
 public:
  /// Zeros. Throws as ScratchFile.
  ScratchMemory(const std::filesystem::path& folder, int64_t num_bytes);
  ~ScratchMemory();
  ScratchMemory(const ScratchMemory&) = delete;
  ScratchMemory& operator=(const ScratchMemory&) = delete;

  std::byte* data() const { return data_; }
  int64_t num_bytes() const { return num_bytes_; }
  /// Says that a range is done with for now; what was written stays.
  void release(int64_t offset, int64_t num_bytes) const;
  /// Asks the system to read a range ahead.
  void will_need(int64_t offset, int64_t num_bytes) const;

 private:
  void advise(int64_t offset, int64_t num_bytes, int advice) const;

  std::byte* data_ = nullptr;
  int64_t num_bytes_ = 0;
};

}  // namespace longlora
