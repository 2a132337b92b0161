#include "longlora/data/compressed.h"

#define ZLIB_CONST  // zlib does not write to its input

#include <fmt/core.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <memory>

#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/memory.h"

namespace longlora::data {

namespace {

using Buffer = std::array<char, size_t{1} << 17>;

[[noreturn]] void refuse(const std::string& source, const char* got) {
  throw InputError(fmt::format("[{}] expected a whole compressed file, got {}; fetch it again", source, got));
}

// Collects what has been unpacked, and limits how much that may be.
class Unpacked {
 public:
  Unpacked(size_t num_compressed, const std::string& source)
      : source_(source), limit_(std::min(kAlwaysAllowed + kHighestRatio * num_compressed, room())) {}

  void append(const char* data, size_t size) {
    if (size > limit_ - bytes_.size())
      throw InputError(fmt::format(
          "[{}] expected a file that unpacks to at most {}, got more; unpack it by hand if it is sound",
          source_, format_bytes(static_cast<int64_t>(limit_))));
    bytes_.append(data, size);
  }
  std::string take() { return std::move(bytes_); }

 private:
  static constexpr size_t kAlwaysAllowed = size_t{64} << 20, kHighestRatio = 256;

  static size_t room() {
    return static_cast<size_t>(std::max<int64_t>(available_memory_bytes() / 4 * 3, kAlwaysAllowed));
  }

  const std::string& source_;
  size_t limit_;
  std::string bytes_;
};

std::string gunzip(std::string_view bytes, const std::string& source) {
  constexpr int kGzipWindow = 15 + 16;  // the largest window, with gzip's header
  z_stream stream{};
  if (inflateInit2(&stream, kGzipWindow) != Z_OK) throw ResourceError("[gzip] expected memory, got none");
  const std::unique_ptr<z_stream, void (*)(z_stream*)> end(&stream, [](z_stream* s) { inflateEnd(s); });
  Unpacked unpacked(bytes.size(), source);
  const auto buffer = std::make_unique<Buffer>();
  while (true) {
    const size_t given = std::min(bytes.size(), size_t{1} << 30);  // avail_in has 32 bits
    stream.next_in = reinterpret_cast<const Bytef*>(bytes.data());
    stream.avail_in = static_cast<uInt>(given);
    stream.next_out = reinterpret_cast<Bytef*>(buffer->data());
    stream.avail_out = static_cast<uInt>(buffer->size());
    const int result = inflate(&stream, Z_NO_FLUSH);
    bytes.remove_prefix(given - stream.avail_in);
    unpacked.append(buffer->data(), buffer->size() - stream.avail_out);
    if (result == Z_STREAM_END) {
      // Zero bytes may fill up the last block of a tape.
      if (bytes.find_first_not_of('\0') == std::string_view::npos) return unpacked.take();
      if (detect_compression(bytes) != Compression::kGzip) refuse(source, "other bytes behind its end");
      inflateReset(&stream);
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      refuse(source, "a damaged one (gzip)");
    } else if (bytes.empty() && stream.avail_out > 0) {
      refuse(source, "one that is cut short (gzip)");
    }
  }
}

std::string unzstd(std::string_view bytes, const std::string& source) {
  const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  if (!context) throw ResourceError("[zstd] expected memory, got none");
  Unpacked unpacked(bytes.size(), source);
  const auto buffer = std::make_unique<Buffer>();
  ZSTD_inBuffer in = {bytes.data(), bytes.size(), 0};
  size_t expected = 1;  // the bytes that the frame still needs; 0 at its end
  bool buffer_was_full = false;
  while (in.pos < in.size || buffer_was_full) {
    ZSTD_outBuffer out = {buffer->data(), buffer->size(), 0};
    expected = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(expected) != 0U)
      refuse(source, fmt::format("a damaged one (zstd: {})", ZSTD_getErrorName(expected)).c_str());
    unpacked.append(buffer->data(), out.pos);
    buffer_was_full = out.pos == out.size && expected != 0;
  }
  if (expected != 0) refuse(source, "one that is cut short (zstd)");
  return unpacked.take();
}

}  // namespace

Compression detect_compression(std::string_view bytes) {
  if (bytes.starts_with("\x1F\x8B\x08")) return Compression::kGzip;
  // The data begins with a frame, or with one that is to be skipped.
  if (bytes.starts_with("\x28\xB5\x2F\xFD")) return Compression::kZstandard;
  if (bytes.size() >= 4 && (bytes[0] & 0xF0) == 0x50 && bytes.substr(1, 3) == "\x2A\x4D\x18")
    return Compression::kZstandard;
  return Compression::kNone;
}

std::string decompress(std::string_view bytes, Compression compression, const std::string& source) {
  switch (compression) {
    case Compression::kNone:
      break;
    case Compression::kGzip:
      return gunzip(bytes, source);
    case Compression::kZstandard:
      return unzstd(bytes, source);
  }
  return std::string(bytes);
}

}  // namespace longlora::data
