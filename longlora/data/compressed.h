// Compressed data: gzip (RFC 1952) and Zstandard (RFC 8878).
#pragma once

#include <string>
#include <string_view>

namespace longlora::data {

enum class Compression { kNone, kGzip, kZstandard };

/// By the first bytes, whatever the file is called.
Compression detect_compression(std::string_view bytes);

/// All that is compressed in `bytes`, several members or frames one after the other included. `source` names
/// it in the InputError: damaged, cut short, or a bomb, which is more than 64 MiB and 256 times its own size,
/// or more than three quarters of the memory that is left.
std::string decompress(std::string_view bytes, Compression compression, const std::string& source);

}  // namespace longlora::data
