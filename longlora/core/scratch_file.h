// A file that exists only while a process uses it.
#pragma once

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
  std::filesystem::path folder_;
  int descriptor_ = -1;
};

}  // namespace longlora
