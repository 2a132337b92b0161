// What is said when the disk behind mapped memory fails.
#pragma once

#include <cstddef>
#include <filesystem>

namespace longlora {

/// What a mapping is of; decides message and exit code.
enum class MappedKind {
  kInput,    // a file that is read: it was cut short, or its disk fails. Exit code 3
  kScratch,  // training state in a scratch file: its disk fails. Exit code 4
};

/// Remembers a mapping until forget_mapping(), for end_on_failed_mappings(). Thread-safe.
void remember_mapping(const void* begin, size_t num_bytes, MappedKind kind,
                      const std::filesystem::path& path);
void forget_mapping(const void* begin);

/// From now on a page of a remembered mapping that cannot be read (SIGBUS) ends the process with a message
/// that names the file, and an exit code; without it the system would end it with neither. Other SIGBUS end
/// the process as before.
void end_on_failed_mappings();

}  // namespace longlora
