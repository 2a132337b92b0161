#include "longlora/generate/prefix_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/file_operations.h"
#include "longlora/core/sha256.h"

namespace longlora::generate {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kMagic = "longlora prefix\n";
constexpr std::string_view kExtension = ".prefix";
constexpr size_t kHexDigits = 64;  // of a SHA-256
constexpr size_t kNameDigits = 16;

template <typename T>
std::string_view bytes_of(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

// Parts are told apart by their lengths, so that no two lists of parts have the same hash.
std::string hash_of(std::initializer_list<std::string_view> parts) {
  Sha256 hash;
  for (const std::string_view part : parts) {
    const uint64_t length = part.size();
    hash.add(&length, sizeof(length));
    hash.add(part.data(), part.size());
  }
  return hash.hex();
}

InputError refused(const fs::path& path, std::string_view expected, std::string_view got) {
  return InputError(
      fmt::format("[{}] expected {}, got {}; the prompt is read again", path.string(), expected, got));
}

// A file of the folder, as its name says it: the hash of the prompt's first chunk, the chunk's number, and
// the hash of all tokens.
struct StoredFile {
  fs::path path;
  std::string first_chunk;
  int64_t index = 0;
  int64_t num_bytes = 0;
  int64_t used_ns = 0;
};

// Returns false for files that this class did not name.
bool describe(const fs::path& path, StoredFile* file) {
  const std::string name = path.filename().string();
  const size_t dash = name.find('-', kNameDigits + 1);
  if (path.extension() != kExtension || name.size() <= kNameDigits || name[kNameDigits] != '-' ||
      dash == std::string::npos)
    return false;
  const std::string index = name.substr(kNameDigits + 1, dash - kNameDigits - 1);
  if (index.empty() || index.size() > 9 || index.find_first_not_of("0123456789") != std::string::npos)
    return false;
  struct stat info;
  if (::lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
  constexpr int64_t kNanoseconds = 1'000'000'000;
  *file = {.path = path,
           .first_chunk = name.substr(0, kNameDigits),
           .index = std::stoll(index),
           .num_bytes = info.st_size,
           .used_ns = int64_t{info.st_mtim.tv_sec} * kNanoseconds + info.st_mtim.tv_nsec};
  return true;
}

}  // namespace

// What a file begins with. Numbers are little-endian, as all machines are that the program is built for.
struct PrefixStore::Header {
  char magic[kMagic.size()];
  char model[kHexDigits];  // the hash of identity, shape, format and scope
  uint64_t num_ends, num_ids;
  uint64_t page_bytes;
};

PrefixStore::PrefixStore(Options options, const ops::PageShape& shape)
    : options_(std::move(options)), shape_(shape) {
  const fs::path parent = options_.folder.parent_path();
  if (!parent.empty()) make_directories(parent);
  if (::mkdir(options_.folder.c_str(), 0700) == 0) return;
  if (errno != EEXIST) throw write_error(options_.folder, "make the folder", errno);
  make_directories(options_.folder);  // says where it is a file
}

std::vector<ops::PageFormat> PrefixStore::formats_of(const Chunk& chunk) const {
  const int64_t begin = chunk.ends.size() > 1 ? chunk.ends[chunk.ends.size() - 2] : 0;
  const auto pages = static_cast<size_t>((chunk.ends.back() - begin) / ops::kPageTokens);
  std::vector<ops::PageFormat> formats(pages, options_.other_pages);
  if (begin == 0) formats.front() = options_.first_page;
  return formats;
}

PrefixStore::Header PrefixStore::header_of(const Chunk& chunk) const {
  const std::string form =
      fmt::format("{} tokens a page, {} layers, {} heads of {}, formats {} and {}", ops::kPageTokens,
                  shape_.layers, shape_.kv_heads, shape_.head_dim, static_cast<int>(options_.first_page),
                  static_cast<int>(options_.other_pages));
  const std::string model = hash_of({options_.identity, form, chunk.scope});
  Header header = {};
  std::memcpy(header.magic, kMagic.data(), kMagic.size());
  std::memcpy(header.model, model.data(), kHexDigits);
  header.num_ends = chunk.ends.size();
  header.num_ids = static_cast<uint64_t>(chunk.ends.back());
  for (const ops::PageFormat format : formats_of(chunk))
    header.page_bytes += static_cast<uint64_t>(shape_.num_bytes(format));
  return header;
}

fs::path PrefixStore::path_of(const Chunk& chunk) const {
  const Header header = header_of(chunk);
  const std::string_view model(header.model, kHexDigits);
  const auto hash_until = [&](size_t chunks) {
    const auto ends = chunk.ends.first(chunks);
    return hash_of({model, bytes_of(ends), bytes_of(chunk.prompt.first(static_cast<size_t>(ends.back())))});
  };
  return options_.folder / fmt::format("{}-{}-{}{}", hash_until(1).substr(0, kNameDigits),
                                       chunk.ends.size() - 1, hash_until(chunk.ends.size()), kExtension);
}

bool PrefixStore::has(const Chunk& chunk) const {
  return ::access(path_of(chunk).c_str(), R_OK) == 0;
}

void PrefixStore::load(const Chunk& chunk, std::span<const PageRef> pages) const {
  const fs::path path = path_of(chunk);
  const MappedFile file(path);
  const std::string_view text = file.text();
  const Header expected = header_of(chunk);
  const auto ids = chunk.prompt.first(static_cast<size_t>(chunk.ends.back()));
  const size_t size =
      sizeof(Header) + chunk.ends.size_bytes() + ids.size_bytes() + expected.page_bytes + kHexDigits;
  if (text.substr(0, kMagic.size()) != kMagic)
    throw refused(path, "what was read of a prompt", "another kind of file");
  Header found;
  if (text.size() < sizeof(found)) throw refused(path, fmt::format("{} bytes", size), "fewer");
  std::memcpy(&found, text.data(), sizeof(found));
  if (std::memcmp(found.model, expected.model, kHexDigits) != 0)
    throw refused(path, "keys and values of this model and its settings", "those of another");
  if (text.size() != size) throw refused(path, fmt::format("{} bytes", size), fmt::to_string(text.size()));
  const std::string_view content = text.substr(0, size - kHexDigits);
  if (hash_of({content}) != text.substr(size - kHexDigits))
    throw refused(path, "the content that was written", "another checksum");
  size_t at = sizeof(Header);
  const auto next = [&](size_t num_bytes) {
    at += num_bytes;
    return content.substr(at - num_bytes, num_bytes);
  };
  if (next(chunk.ends.size_bytes()) != bytes_of(chunk.ends) || next(ids.size_bytes()) != bytes_of(ids))
    throw refused(path, "the tokens of the prompt", "others");
  for (const PageRef& page : pages) {
    const auto num_bytes = static_cast<size_t>(shape_.num_bytes(page->format));
    std::memcpy(page->data, next(num_bytes).data(), num_bytes);
  }
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);  // it was used now; nothing depends on its success
}

void PrefixStore::save(const Chunk& chunk, std::span<const PageRef> pages) const {
  AtomicFileWriter file(path_of(chunk), FileReaders::kOwnerAlone);
  const Header header = header_of(chunk);
  const auto ids = chunk.prompt.first(static_cast<size_t>(chunk.ends.back()));
  const uint64_t length = sizeof(header) + chunk.ends.size_bytes() + ids.size_bytes() + header.page_bytes;
  Sha256 hash;
  hash.add(&length, sizeof(length));  // as hash_of() does
  const auto add = [&](const void* data, size_t num_bytes) {
    hash.add(data, num_bytes);
    file.write(data, num_bytes);
  };
  add(&header, sizeof(header));
  add(chunk.ends.data(), chunk.ends.size_bytes());
  add(ids.data(), ids.size_bytes());
  for (const PageRef& page : pages) add(page->data, static_cast<size_t>(shape_.num_bytes(page->format)));
  const std::string checksum = hash.hex();
  file.write(checksum.data(), checksum.size());
  file.commit();
  keep_to_limit();
}

void PrefixStore::keep_to_limit() const {
  std::vector<StoredFile> files;
  std::map<std::string, int64_t> used;  // when a prompt was used last, by its first chunk
  int64_t bytes = 0;
  for (const fs::path& path : list_directory(options_.folder)) {
    StoredFile file;
    if (!describe(path, &file)) continue;
    int64_t& last = used[file.first_chunk];
    last = std::max(last, file.used_ns);
    bytes += file.num_bytes;
    files.push_back(std::move(file));
  }
  std::sort(files.begin(), files.end(), [&](const StoredFile& a, const StoredFile& b) {
    return std::tuple(used[a.first_chunk], a.first_chunk, -a.index) <
           std::tuple(used[b.first_chunk], b.first_chunk, -b.index);
  });
  for (const StoredFile& file : files) {
    if (bytes <= options_.limit_bytes) return;
    bytes -= file.num_bytes;
    ::unlink(file.path.c_str());
  }
}

}  // namespace longlora::generate
