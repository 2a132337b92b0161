// Compressed data: gzip (RFC 1952) and Zstandard (RFC 8878).
#pragma once

#include <string>
#include <string_view>

namespace longlora::data {

enum class Compression { kNone, kGzip, kZstandard };

/// The compression that the first bytes show, whatever the file is called.
Compression detect_compression(std::string_view bytes);

/// Everything that is compressed in `bytes`, where several members or frames may follow each other. `source`
/// names it in the InputError for data that is damaged, cut short, or a bomb: it unpacks to more than 64 MiB
/// and 256 times its own size, or to more than three quarters of the memory that is left.
std::string decompress(std::string_view bytes, Compression compression, const std::string& source);

}  // namespace longlora::data
