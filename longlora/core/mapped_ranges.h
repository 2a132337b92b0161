// The message with which the process ends when the disk behind mapped memory fails.
#pragma once

#include <cstddef>
#include <filesystem>

namespace longlora {

/// What a mapping holds, which decides the message and the exit code.
enum class MappedKind {
  kInput,    // a file that is read: it was cut short, or its disk fails. Exit code 3
  kScratch,  // training state in a scratch file: its disk fails. Exit code 4
};

/// Remembers a mapping until forget_mapping(), so that end_on_failed_mappings() knows its file. Thread-safe.
void remember_mapping(const void* begin, size_t num_bytes, MappedKind kind,
                      const std::filesystem::path& path);
void forget_mapping(const void* begin);

/// From now on a page of a remembered mapping that cannot be read (SIGBUS) ends the process with an exit code
/// and a message that names the file; the system alone would end it with neither. Any other SIGBUS ends the
/// process as before.
void end_on_failed_mappings();

}  // namespace longlora
