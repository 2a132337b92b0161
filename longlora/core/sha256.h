// The SHA-256 of bytes that come in pieces.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>

namespace longlora {

/// The hash of the bytes that are added. The constructor throws Error when OpenSSL has no SHA-256.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void add(const void* data, size_t num_bytes);
  /// The hash in lower-case hexadecimal. Called once, at the end.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A hash that tells whether a file still has the content that it had: SHA-256 of the file's size and
/// content. Of a file larger than 8 MiB only 128 blocks of 64 KiB are read, spread evenly from its first byte
/// to its last, so that weights of many gigabytes take no longer than a moment. A change of single bytes
/// between those blocks is not seen; other weights, other headers and other sizes are. Throws InputError when
/// the file cannot be read.
std::string file_fingerprint(const std::filesystem::path& path);

}  // namespace longlora
