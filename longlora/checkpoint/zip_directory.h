// The table of contents of a zip file whose entries are stored as they are, as torch.save writes them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace longlora::checkpoint {

/// One entry: where its bytes lie in the file. `name` points into the file.
struct ZipEntry {
  std::string_view name;
  uint64_t offset_bytes;
  uint64_t num_bytes;
};

/// Reads the central directory (zip64 too) and every local header of `file`, which holds the bytes of the
/// whole file; `source` names it in errors. Afterwards it is certain that entries lie inside the file, do not
/// overlap and have unique names. Checksums are not looked at, because that would read the whole file. Throws
/// InputError for a file that is no zip, is truncated, spans several disks, or has an entry that is
/// compressed or encrypted.
std::vector<ZipEntry> read_zip_directory(std::string_view file, const std::string& source);

}  // namespace longlora::checkpoint
