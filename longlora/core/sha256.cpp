#include "longlora/core/sha256.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/file_internal.h"

namespace longlora {
namespace {

constexpr uint64_t kBlockBytes = uint64_t{64} << 10;
constexpr uint64_t kBlocks = 128;

void check(int result) {
  if (result != 1)
    throw Error("[sha256] expected OpenSSL to provide SHA-256, got a failure of its digest functions");
}

InputError unreadable(const std::filesystem::path& path, int error_number) {
  return InputError(
      fmt::format("[{}] expected a readable file, got: {}", path.string(), std::strerror(error_number)));
}

// Adds up to `block.size()` bytes from `offset` on; where a file has become shorter, there are fewer.
void add_block(Sha256& hash, int file, uint64_t offset, std::vector<char>& block,
               const std::filesystem::path& path) {
  size_t filled = 0;
  while (filled < block.size()) {
    const ssize_t got =
        ::pread(file, block.data() + filled, block.size() - filled, static_cast<off_t>(offset + filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw unreadable(path, errno);
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  hash.add(block.data(), filled);
}

}  // namespace

struct Sha256::State {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(), EVP_MD_CTX_free};
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  check(state_->context == nullptr ? 0 : EVP_DigestInit_ex(state_->context.get(), EVP_sha256(), nullptr));
}

Sha256::~Sha256() = default;

void Sha256::add(const void* data, size_t num_bytes) {
  check(EVP_DigestUpdate(state_->context.get(), data, num_bytes));
}

std::string Sha256::hex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int num_digest_bytes = 0;
  check(EVP_DigestFinal_ex(state_->context.get(), digest, &num_digest_bytes));
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * num_digest_bytes);
  for (unsigned int i = 0; i < num_digest_bytes; ++i) {
    hex += kDigits[digest[i] >> 4];
    hex += kDigits[digest[i] & 15];
  }
  return hex;
}

std::string sha256_hex(std::string_view bytes) {
  Sha256 hash;
  hash.add(bytes.data(), bytes.size());
  return hash.hex();
}

std::string file_fingerprint(const std::filesystem::path& path) {
  const internal::Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.is_open()) throw unreadable(path, errno);
  struct stat info;
  if (::fstat(file.get(), &info) != 0) throw unreadable(path, errno);
  if (!S_ISREG(info.st_mode)) throw unreadable(path, S_ISDIR(info.st_mode) ? EISDIR : EINVAL);
  const auto size = static_cast<uint64_t>(info.st_size);
  Sha256 hash;
  hash.add(&size, sizeof size);
  std::vector<char> block(kBlockBytes);
  if (size <= kBlocks * kBlockBytes)
    for (uint64_t offset = 0; offset < size; offset += kBlockBytes)
      add_block(hash, file.get(), offset, block, path);
  else
    for (uint64_t i = 0; i < kBlocks; ++i)
      add_block(hash, file.get(), (size - kBlockBytes) * i / (kBlocks - 1), block, path);
  return hash.hex();
}

}  // namespace longlora
