#include "longlora/checkpoint/torch_file.h"

#include <fmt/core.h>

#include <map>
#include <set>

#include "longlora/checkpoint/bytes.h"
#include "longlora/checkpoint/dtypes.h"
#include "longlora/checkpoint/pickle.h"
#include "longlora/checkpoint/zip_directory.h"
#include "longlora/core/error.h"

namespace longlora::checkpoint {
namespace {

constexpr char kProtoOpcode = '\x80';
// 0x1950a86a20f9469cfc6c, the first pickle of the older format.
constexpr std::string_view kLegacyMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
constexpr int64_t kLegacyProtocol = 1001;

[[noreturn]] void fail(const std::string& source, const std::string& expected, const std::string& got) {
  throw InputError(fmt::format("[{}] expected {}, got {}", source, expected, got));
}

// Collects the tensors of nested containers under the names that lead to them.
class Flattener {
 public:
  Flattener(const Pickle& pickle, const std::string& source) : pickle_(pickle), source_(source) {}

  std::vector<std::pair<std::string, const PickledTensor*>> run() {
    visit(pickle_.root);
    return std::move(found_);
  }

 private:
  static constexpr size_t kMaxDepth = 64;
  static constexpr size_t kMaxVisits = 4'000'000;  // a container may occur in many places
  static constexpr size_t kMaxNameBytes = 4096;
  static constexpr size_t kMaxAllNameBytes = size_t{1} << 28;

  void visit(PickleRef ref) {
    const PickleValue& value = pickle_.value(ref);
    if (++num_visits_ > kMaxVisits)
      fail(source_, fmt::format("at most {} values", kMaxVisits),
           "containers that repeat each other beyond it");
    switch (value.kind) {
      case PickleKind::kTensor:
        return add(pickle_.tensors[static_cast<size_t>(value.integer)]);
      case PickleKind::kDict:
        for (size_t i = 0; i + 1 < value.items.size(); i += 2)
          visit_part(key_text(pickle_.value(value.items[i])), value.items[i + 1]);
        return;
      case PickleKind::kList:
      case PickleKind::kTuple:
        for (size_t i = 0; i < value.items.size(); ++i) visit_part(std::to_string(i), value.items[i]);
        return;
      default:
        return;
    }
  }

  void visit_part(std::string_view key, PickleRef ref) {
    if (depth_ >= kMaxDepth)
      fail(source_, fmt::format("containers nested at most {} deep", kMaxDepth),
           "more at " + shown_text(name_));
    const size_t length = name_.size();
    if (!is_top_) name_ += '.';
    name_ += key;
    if (name_.size() > kMaxNameBytes)
      fail(source_, fmt::format("names of at most {} bytes", kMaxNameBytes), shown_text(name_));
    const bool was_top = is_top_;
    is_top_ = false;
    ++depth_;
    visit(ref);
    --depth_;
    is_top_ = was_top;
    name_.resize(length);
  }

  void add(const PickledTensor& tensor) {
    const std::string name = is_top_ ? "tensor" : name_;
    num_name_bytes_ += name.size();
    if (num_name_bytes_ > kMaxAllNameBytes) fail(source_, "names that fit in memory", "more");
    if (!names_.insert(name).second)
      fail(source_, "each tensor once", fmt::format("\"{}\" twice", shown_text(name)));
    found_.emplace_back(name, &tensor);
  }

  std::string key_text(const PickleValue& key) const {
    switch (key.kind) {
      case PickleKind::kText:
      case PickleKind::kBytes:
        return std::string(key.text);
      case PickleKind::kInt:
      case PickleKind::kBool:
        return std::to_string(key.integer);
      default:
        return "?";
    }
  }

  const Pickle& pickle_;
  const std::string& source_;
  std::vector<std::pair<std::string, const PickledTensor*>> found_;
  std::set<std::string> names_;
  std::string name_;
  bool is_top_ = true;
  size_t depth_ = 0;
  size_t num_visits_ = 0;
  size_t num_name_bytes_ = 0;
};

// One key is one storage: all that name it must agree on what it is.
void check_storages_agree(const Pickle& pickle, const std::string& source) {
  std::map<std::string_view, const PickledStorage*> known;
  for (const PickledStorage& storage : pickle.storages) {
    const PickledStorage& first = *known.emplace(storage.key, &storage).first->second;
    if (first.dtype != storage.dtype || first.num_elements != storage.num_elements)
      fail(source, fmt::format("storage \"{}\" of one type and size", shown_text(storage.key)), "two");
  }
}

/// Where the bytes of each storage start in the file, by key.
using StoragePlaces = std::map<std::string_view, uint64_t>;

std::vector<StoredTensor> place_tensors(const Pickle& pickle, const StoragePlaces& places,
                                        const std::string& source) {
  std::vector<StoredTensor> result;
  for (const auto& [name, tensor] : Flattener(pickle, source).run()) {
    const PickledStorage& storage = pickle.storages[tensor->storage];
    const auto place = places.find(storage.key);
    if (place == places.end())
      fail(source,
           fmt::format("the storage \"{}\" of tensor \"{}\"", shown_text(storage.key), shown_text(name)),
           "none of that name; the file is damaged");
    const uint64_t offset =
        storage.view_offset * element_bytes(storage.dtype) + tensor->offset * element_bytes(tensor->dtype);
    result.push_back({name, tensor->dtype, tensor->shape, tensor->strides, place->second + offset});
  }
  return result;
}

// -- zip ---------------------------------------------------------------------------------------------------

std::string_view entry_bytes(std::string_view file, const ZipEntry& entry) {
  return file.substr(entry.offset_bytes, entry.num_bytes);
}

class ZipFile {
 public:
  ZipFile(std::string_view file, const std::string& source) : file_(file), source_(source) {
    for (const ZipEntry& entry : read_zip_directory(file, source)) entries_.emplace(entry.name, entry);
    find_root();
  }

  std::vector<StoredTensor> tensors() const {
    if (const ZipEntry* order = find("byteorder"); order != nullptr && entry_bytes(file_, *order) != "little")
      fail(source_, "little-endian data", shown_text(entry_bytes(file_, *order)));
    if (find("constants.pkl") != nullptr)
      fail(source_, "a file of torch.save", "a TorchScript program; save its state_dict() instead");
    const Pickle pickle = read_pickle(entry_bytes(file_, *find("data.pkl")), source_);
    check_storages_agree(pickle, source_);
    StoragePlaces places;
    for (const PickledStorage& storage : pickle.storages)
      if (const ZipEntry* entry = find("data/" + std::string(storage.key))) {
        const uint64_t needed = storage.num_elements * element_bytes(storage.dtype);
        if (entry->num_bytes != needed)
          fail(source_, fmt::format("{} bytes of storage \"{}\"", needed, shown_text(storage.key)),
               fmt::format("{}; the file is damaged", entry->num_bytes));
        places[storage.key] = entry->offset_bytes;
      }
    return place_tensors(pickle, places, source_);
  }

 private:
  // All entries lie in one folder, whose name is any.
  void find_root() {
    constexpr std::string_view kPickle = "/data.pkl";
    for (const auto& [name, entry] : entries_) {
      if (!name.ends_with(kPickle) || name.find('/') != name.size() - kPickle.size()) continue;
      if (!root_.empty()) fail(source_, "one data.pkl", "several");
      root_ = name.substr(0, name.size() - kPickle.size() + 1);
    }
    if (root_.empty())
      fail(source_, "a zip archive of torch.save with a data.pkl",
           "one without; is it a file of another kind?");
  }
  const ZipEntry* find(const std::string& name) const {
    const auto found = entries_.find(std::string(root_) + name);
    return found == entries_.end() ? nullptr : &found->second;
  }

  std::string_view file_;
  const std::string& source_;
  std::map<std::string_view, ZipEntry> entries_;
  std::string_view root_;
};

// -- the older format
// ----------------------------------------------------------------------------------------

// Pickles of a magic number, a version, the machine, the data and the keys of
// the storages; then each storage in that order: its length and its elements.
class LegacyFile {
 public:
  LegacyFile(std::string_view file, const std::string& source) : file_(file), source_(source) {}

  std::vector<StoredTensor> tensors() {
    const Pickle magic = next_pickle();
    const PickleValue& number = magic.value(magic.root);
    if (number.kind != PickleKind::kBigInt || number.text != kLegacyMagic)
      fail(source_, "a file of torch.save", "another pickle; save a state dict with torch.save");
    const Pickle version = next_pickle();
    if (version.value(version.root).kind != PickleKind::kInt ||
        version.value(version.root).integer != kLegacyProtocol)
      fail(source_, fmt::format("version {} of the older format", kLegacyProtocol), "another");
    check_machine(next_pickle());
    const Pickle data = next_pickle();
    check_storages_agree(data, source_);
    return place_tensors(data, read_storages(data, next_pickle()), source_);
  }

 private:
  Pickle next_pickle() {
    Pickle pickle = read_pickle(file_.substr(position_), source_);
    position_ += pickle.num_bytes;
    return pickle;
  }

  void check_machine(const Pickle& machine) const {
    const PickleValue& settings = machine.value(machine.root);
    if (settings.kind != PickleKind::kDict) return;
    for (size_t i = 0; i + 1 < settings.items.size(); i += 2) {
      const PickleValue& setting = machine.value(settings.items[i + 1]);
      if (machine.value(settings.items[i]).text == "little_endian" && setting.kind == PickleKind::kBool &&
          setting.integer == 0)
        fail(source_, "little-endian data", "big-endian");
    }
  }

  StoragePlaces read_storages(const Pickle& data, const Pickle& keys) {
    std::map<std::string_view, const PickledStorage*> storages;
    for (const PickledStorage& storage : data.storages) storages.emplace(storage.key, &storage);
    StoragePlaces places;
    for (const PickleRef ref : keys.value(keys.root).items) {
      const PickleValue& key = keys.value(ref);
      const auto found = storages.find(key.text);
      if (key.kind != PickleKind::kText || found == storages.end() || places.count(found->first) != 0)
        fail(source_, "the key of each storage once", fmt::format("\"{}\"", shown_text(key.text)));
      places[found->first] = take_storage(*found->second);
    }
    return places;
  }

  uint64_t take_storage(const PickledStorage& storage) {
    const uint64_t left = file_.size() - position_;
    const uint64_t needed = storage.num_elements * element_bytes(storage.dtype);
    if (left < 8 || left - 8 < needed)
      fail(source_, fmt::format("{} bytes of storage \"{}\"", needed, shown_text(storage.key)),
           fmt::format("a file with {} left; it is truncated: fetch or write it again", left));
    if (const auto stated = read_number<uint64_t>(file_, position_); stated != storage.num_elements)
      fail(source_,
           fmt::format("{} elements of storage \"{}\"", storage.num_elements, shown_text(storage.key)),
           std::to_string(stated));
    const uint64_t start = position_ + 8;
    position_ = start + needed;
    return start;
  }

  std::string_view file_;
  const std::string& source_;
  size_t position_ = 0;
};

bool is_zip(std::string_view file) {
  return file.starts_with("PK\x03\x04");
}

}  // namespace

bool is_torch_file(std::string_view file) {
  return is_zip(file) || file.starts_with(kProtoOpcode);
}

std::vector<StoredTensor> read_torch_file(std::string_view file, const std::string& source) {
  return is_zip(file) ? ZipFile(file, source).tensors() : LegacyFile(file, source).tensors();
}

}  // namespace longlora::checkpoint
