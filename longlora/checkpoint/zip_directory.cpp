#include "longlora/checkpoint/zip_directory.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "longlora/checkpoint/bytes.h"
#include "longlora/core/error.h"

namespace longlora::checkpoint {
namespace {

constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kCentralSignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint32_t kLocator64Signature = 0x07064b50;
constexpr size_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kLocator64Bytes = 20;
constexpr size_t kMaxCommentBytes = 65535;
constexpr uint16_t kZip64Field = 1;
constexpr uint32_t kIn64 = 0xffffffff;  // means that the real value is in the zip64 field

// Where the central directory lies and how many entries it has.
struct CentralDirectory {
  uint64_t num_entries;
  uint64_t offset;
  uint64_t num_bytes;
};

struct CentralEntry {
  std::string_view name;
  uint64_t local_offset;
  uint64_t num_bytes;
};

class Reader {
 public:
  Reader(std::string_view file, const std::string& source) : file_(file), source_(source) {}

  std::vector<ZipEntry> read() {
    const CentralDirectory directory = find_directory();
    std::vector<CentralEntry> found = read_entries(directory);
    std::sort(found.begin(), found.end(),
              [](const CentralEntry& a, const CentralEntry& b) { return a.local_offset < b.local_offset; });
    std::vector<ZipEntry> entries;
    entries.reserve(found.size());
    uint64_t position = 0;
    for (const CentralEntry& entry : found) {
      if (entry.local_offset < position) fail_entry(entry.name, "bytes of its own", "overlapping entries");
      entries.push_back(locate(entry, directory.offset));
      position = entries.back().offset_bytes + entries.back().num_bytes;
    }
    return entries;
  }

 private:
  [[noreturn]] void fail(const std::string& got) const {
    throw InputError(fmt::format("[{}] expected a zip archive of torch.save, got {}", source_, got));
  }
  [[noreturn]] void fail_entry(std::string_view name, const std::string& expected,
                               const std::string& got) const {
    throw InputError(
        fmt::format("[{}] entry \"{}\": expected {}, got {}", source_, shown_text(name), expected, got));
  }

  template <typename Number>
  Number at(uint64_t offset) const {
    return read_number<Number>(file_, offset);
  }
  bool has(uint64_t offset, uint64_t num_bytes) const {
    return offset <= file_.size() && num_bytes <= file_.size() - offset;
  }

  // Finds the end record. It is the last thing in the file, except a comment whose length it states.
  uint64_t find_end_record() const {
    if (file_.size() >= kEndBytes) {
      const size_t last = file_.size() - kEndBytes;
      const size_t first = last > kMaxCommentBytes ? last - kMaxCommentBytes : 0;
      for (size_t position = last + 1; position-- > first;)
        if (at<uint32_t>(position) == kEndSignature && at<uint16_t>(position + 20) == last - position)
          return position;
    }
    fail("a file without the record that ends one; it is truncated or damaged: fetch or write it again");
  }

  CentralDirectory find_directory() const {
    const uint64_t end = find_end_record();
    if (at<uint16_t>(end + 4) != at<uint16_t>(end + 6)) fail("a part of an archive on several disks");
    CentralDirectory directory = {at<uint16_t>(end + 10), at<uint32_t>(end + 16), at<uint32_t>(end + 12)};
    const bool is_64 =
        directory.num_entries == 0xffff || directory.offset == kIn64 || directory.num_bytes == kIn64;
    if (is_64 && end >= kLocator64Bytes && at<uint32_t>(end - kLocator64Bytes) == kLocator64Signature) {
      const auto record = at<uint64_t>(end - kLocator64Bytes + 8);
      if (!has(record, kEnd64Bytes) || at<uint32_t>(record) != kEnd64Signature)
        fail("a zip64 record outside the file");
      directory = {at<uint64_t>(record + 32), at<uint64_t>(record + 48), at<uint64_t>(record + 40)};
    }
    if (!has(directory.offset, directory.num_bytes) || directory.offset + directory.num_bytes > end)
      fail("a table of contents outside the file; it is truncated or damaged: fetch or write it again");
    if (directory.num_entries > directory.num_bytes / kCentralBytes)
      fail(fmt::format("{} entries in a table of {} bytes", directory.num_entries, directory.num_bytes));
    return directory;
  }

  std::vector<CentralEntry> read_entries(const CentralDirectory& directory) const {
    std::vector<CentralEntry> entries;
    entries.reserve(directory.num_entries);
    std::set<std::string_view> names;
    uint64_t position = directory.offset;
    const uint64_t end = directory.offset + directory.num_bytes;
    for (uint64_t i = 0; i < directory.num_entries; ++i) {
      if (end - position < kCentralBytes || at<uint32_t>(position) != kCentralSignature)
        fail("a damaged table of contents");
      const uint64_t name_bytes = at<uint16_t>(position + 28);
      const uint64_t extra_bytes = at<uint16_t>(position + 30);
      const uint64_t total = kCentralBytes + name_bytes + extra_bytes + at<uint16_t>(position + 32);
      if (end - position < total) fail("a damaged table of contents");
      entries.push_back(read_entry(position, file_.substr(position + kCentralBytes, name_bytes),
                                   file_.substr(position + kCentralBytes + name_bytes, extra_bytes)));
      if (!names.insert(entries.back().name).second)
        fail_entry(entries.back().name, "a name that occurs once", "it twice");
      position += total;
    }
    return entries;
  }

  CentralEntry read_entry(uint64_t position, std::string_view name, std::string_view extra) const {
    if ((at<uint16_t>(position + 8) & 1) != 0) fail_entry(name, "plain data", "an encrypted entry");
    if (const auto method = at<uint16_t>(position + 10); method != 0)
      fail_entry(name, "an entry stored as it is, as torch.save writes it",
                 fmt::format("a compressed one (method {}); unpack and pack it without compression", method));
    uint64_t sizes[3] = {at<uint32_t>(position + 24), at<uint32_t>(position + 20),
                         at<uint32_t>(position + 42)};  // uncompressed, compressed, local header
    read_zip64_field(name, extra, sizes);
    if (sizes[0] != sizes[1])
      fail_entry(name, "two equal sizes", fmt::format("{} and {} bytes", sizes[0], sizes[1]));
    return {name, sizes[2], sizes[0]};
  }

  // Reads the zip64 field, in which the values stand, in this order, that are all ones elsewhere.
  void read_zip64_field(std::string_view name, std::string_view extra, uint64_t (&sizes)[3]) const {
    if (std::none_of(std::begin(sizes), std::end(sizes), [](uint64_t size) { return size == kIn64; })) return;
    while (extra.size() >= 4) {
      const auto id = read_number<uint16_t>(extra, 0);
      const auto num_bytes = read_number<uint16_t>(extra, 2);
      if (extra.size() - 4 < num_bytes) break;
      std::string_view field = extra.substr(4, num_bytes);
      extra.remove_prefix(4 + num_bytes);
      if (id != kZip64Field) continue;
      for (uint64_t& size : sizes) {
        if (size != kIn64) continue;
        if (field.size() < 8) fail_entry(name, "a 64-bit size", "a zip64 field without it");
        size = read_number<uint64_t>(field, 0);
        field.remove_prefix(8);
      }
      return;
    }
  }

  ZipEntry locate(const CentralEntry& entry, uint64_t limit) const {
    const uint64_t start = entry.local_offset;
    if (start > limit || limit - start < kLocalBytes || at<uint32_t>(start) != kLocalSignature)
      fail_entry(entry.name, "its header inside the file", "none there; the file is truncated or damaged");
    const uint64_t name_bytes = at<uint16_t>(start + 26);
    const uint64_t head = kLocalBytes + name_bytes + at<uint16_t>(start + 28);
    if (limit - start < head || file_.substr(start + kLocalBytes, name_bytes) != entry.name)
      fail_entry(entry.name, "the same name in its header", "another; the file is damaged");
    if (entry.num_bytes > limit - start - head)
      fail_entry(entry.name, fmt::format("{} bytes of data", entry.num_bytes),
                 fmt::format("{}; the file is truncated or damaged", limit - start - head));
    return {entry.name, start + head, entry.num_bytes};
  }

  std::string_view file_;
  const std::string& source_;
};

}  // namespace

std::vector<ZipEntry> read_zip_directory(std::string_view file, const std::string& source) {
  return Reader(file, source).read();
}

}  // namespace longlora::checkpoint
