#include "longlora/checkpoint/torch_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "longlora/checkpoint/bytes.h"
#include "longlora/checkpoint/pickle.h"
#include "longlora/checkpoint/zip_directory.h"
#include "longlora/core/error.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::checkpoint {
namespace {

constexpr char kProtoOpcode = '\x80';
// The number 0x1950a86a20f9469cfc6c, with which the first pickle of the older format begins.
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
  static constexpr size_t kMaxVisits = 4'000'000;  // the same container may occur in many places
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

// Checks that all who name a storage by the same key agree on what it is.
void check_storages_agree(const Pickle& pickle, const std::string& source) {
  std::map<std::string_view, const PickledStorage*> known;
  for (const PickledStorage& storage : pickle.storages) {
    const PickledStorage& first = *known.emplace(storage.key, &storage).first->second;
    if (first.dtype != storage.dtype || first.num_elements != storage.num_elements)
      fail(source, fmt::format("storage \"{}\" of one type and size", shown_text(storage.key)), "two");
  }
}

// Where the bytes of a storage lie in the file.
struct StoragePlace {
  uint64_t offset_bytes;
  uint64_t num_bytes;
};
using StoragePlaces = std::map<std::string_view, StoragePlace>;
using NamedPickledTensors = std::vector<std::pair<std::string, const PickledTensor*>>;

[[noreturn]] void fail_tensor(const std::string& source, const std::string& name, const std::string& expected,
                              const std::string& got) {
  throw InputError(
      fmt::format("[{}] tensor \"{}\": expected {}, got {}", source, shown_text(name), expected, got));
}

uint64_t storage_bytes(const PickledStorage& storage) {
  return storage.num_elements * tensors::element_bytes(storage.dtype);
}

// How many elements a storage must hold so that it has the tensor's last one; nullopt when the number
// overflows.
std::optional<uint64_t> needed_elements(const PickledTensor& tensor) {
  uint64_t last = tensor.offset;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    if (tensor.shape[i] == 0) return 0;
    const auto steps = static_cast<uint64_t>(tensor.shape[i] - 1);
    const auto stride = static_cast<uint64_t>(tensor.strides[i]);
    if (stride != 0 && steps > (kMaxPickledCount - last) / stride) return std::nullopt;
    last += steps * stride;
  }
  return last + 1;
}

// Whether the size of a tensor is sane. A stride of 0 may repeat what is stored, but not to a size that no
// memory holds.
bool has_sane_size(const PickledTensor& tensor, uint64_t num_stored_bytes) {
  constexpr uint64_t kMaxRepeatedBytes = uint64_t{1} << 31;
  const bool is_empty = std::count(tensor.shape.begin(), tensor.shape.end(), 0) != 0;
  // The strides of an empty tensor are made of its other sizes.
  const uint64_t most = is_empty ? kMaxPickledCount : std::max(num_stored_bytes, kMaxRepeatedBytes);
  uint64_t num_bytes = tensors::element_bytes(tensor.dtype);
  for (const int64_t size : tensor.shape) {
    const auto factor = static_cast<uint64_t>(std::max<int64_t>(size, 1));
    if (factor > most / num_bytes) return false;
    num_bytes *= factor;
  }
  return true;
}

StoredTensor place_tensor(const std::string& name, const PickledTensor& tensor, const PickledStorage& storage,
                          const StoragePlaces& places, const std::string& source) {
  const std::string key = shown_text(storage.key);
  const auto place = places.find(storage.key);
  if (place == places.end())
    fail_tensor(source, name, fmt::format("the storage \"{}\"", key),
                "none of that name; the file is damaged");
  if (place->second.num_bytes != storage_bytes(storage))
    fail_tensor(source, name, fmt::format("{} bytes of storage \"{}\"", storage_bytes(storage), key),
                fmt::format("{}; the file is damaged", place->second.num_bytes));

  const uint64_t view_bytes = storage.view_elements * tensors::element_bytes(storage.dtype);
  const uint64_t num_elements = view_bytes / tensors::element_bytes(tensor.dtype);
  const auto needed = needed_elements(tensor);
  if (!needed || *needed > num_elements)
    fail_tensor(source, name, fmt::format("elements inside its storage \"{}\" of {}", key, num_elements),
                needed ? fmt::format("one that reaches to element {}", *needed)
                       : std::string("sizes and strides beyond 64 bits"));
  if (!has_sane_size(tensor, view_bytes))
    fail_tensor(source, name, "a tensor about as large as its storage",
                fmt::format("one that repeats {} bytes beyond measure", view_bytes));
  const uint64_t offset = storage.view_offset * tensors::element_bytes(storage.dtype) +
                          tensor.offset * tensors::element_bytes(tensor.dtype);
  return {name, tensor.dtype, tensor.shape, tensor.strides, place->second.offset_bytes + offset};
}

std::vector<StoredTensor> place_tensors(const Pickle& pickle, const NamedPickledTensors& tensors,
                                        const StoragePlaces& places, const std::string& source) {
  std::vector<StoredTensor> result;
  result.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors)
    result.push_back(place_tensor(name, *tensor, pickle.storages[tensor->storage], places, source));
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
      if (const ZipEntry* entry = find("data/" + std::string(storage.key)))
        places[storage.key] = {entry->offset_bytes, entry->num_bytes};
    return place_tensors(pickle, Flattener(pickle, source_).run(), places, source_);
  }

 private:
  // Finds the folder in which all entries lie, and whose name may be any.
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
    const NamedPickledTensors tensors = Flattener(data, source_).run();
    for (const auto& [name, tensor] : tensors) owners_.emplace(data.storages[tensor->storage].key, name);
    return place_tensors(data, tensors, read_storages(data, next_pickle()), source_);
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

  StoragePlace take_storage(const PickledStorage& storage) {
    const auto owner = owners_.find(storage.key);
    const std::string what =
        fmt::format("storage \"{}\"{}", shown_text(storage.key),
                    owner == owners_.end() ? "" : " of tensor \"" + shown_text(owner->second) + "\"");
    const uint64_t left = file_.size() - position_;
    const uint64_t needed = storage_bytes(storage);
    if (left < 8 || left - 8 < needed)
      fail(source_, fmt::format("{} bytes of {}", needed, what),
           fmt::format("a file with {} left; it is truncated: fetch or write it again", left));
    if (const auto stated = read_number<uint64_t>(file_, position_); stated != storage.num_elements)
      fail(source_, fmt::format("{} elements of {}", storage.num_elements, what), std::to_string(stated));
    const uint64_t start = position_ + 8;
    position_ = start + needed;
    return {start, needed};
  }

  std::string_view file_;
  const std::string& source_;
  size_t position_ = 0;
  std::map<std::string_view, std::string> owners_;  // the first tensor that uses each storage
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
