// Fingerprints of models, by which a program sees whether their files have changed.
//
// They are equal for equal files, wherever these lie and whatever they are called. Of large files samples are
// read (file_fingerprint). All functions throw InputError for files that cannot be read.
#pragma once

#include <filesystem>
#include <set>
#include <string>

namespace longlora::checkpoint {

/// Of files together. Those that do not exist are left out.
std::string files_fingerprint(const std::set<std::filesystem::path>& files);
/// Of a model's weight files and its configuration.
std::string model_fingerprint(const std::filesystem::path& directory);
/// Of an adapter's weight files, its settings and its configuration.
std::string adapter_fingerprint(const std::filesystem::path& directory);

}  // namespace longlora::checkpoint
