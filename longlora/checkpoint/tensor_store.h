// Named tensors in files of any format: opened lazily over mmap, copied once when loaded or seen where they
// are.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "longlora/core/file.h"

namespace longlora::checkpoint {

/// Where one tensor lies and what it is.
struct TensorInfo {
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  size_t file_index;      // into TensorStore's files
  uint64_t offset_bytes;  // from the start of the file
  uint64_t num_bytes;     // of the tensor when loaded
  /// In elements; empty for a tensor whose elements follow each other. Tensors of torch.save may be
  /// transposed, cut or repeated views of storages that others share.
  std::vector<int64_t> strides = {};
};

/// A tensor whose pieces lie in several stores, each under the same name.
struct JoinedTensor {
  std::string name;
  std::vector<int64_t> shape;  // of the whole
  std::string piece_name;
  /// The dimension along which the pieces follow each other, in the order of the stores.
  int64_t dim = 0;
  /// Runs of so many stores hold the same piece; copies that differ are refused when they are loaded.
  int64_t copies = 1;
  /// Where not 0, the pieces have whole attention heads of so many rows, and the rows of each are moved from
  /// the interleaved rotary layout (pairs 2i, 2i+1) to halves (i, i + D/2).
  int64_t rotary_head_dim = 0;
};

/// A read-only set of named tensors over one or more mapped files. Opening
/// reads headers alone. Copies share the mapping. Thread-safe for reading.
class TensorStore {
 public:
  /// Opens one file: safetensors, or what torch.save wrote (.bin, .pt, .pth;
  /// torch_file.h says how nested tensors are named). The content decides.
  /// Throws InputError naming file, tensor and reason when it is truncated,
  /// oversized, overlapping, out of bounds, duplicated, of an unknown dtype, or a
  /// pickle that asks for more than tensors and plain containers; and one that says what the file is where it
  /// holds no weights (a Git LFS pointer, a page of a server, GGUF …). A folder is opened as
  /// open_model_directory does.
  static TensorStore open_file(const std::filesystem::path& path);

  /// Opens a Hugging Face directory: model.safetensors, or the shards named by
  /// model.safetensors.index.json (every shard must exist and hold the tensors
  /// the index promises); else pytorch_model.bin or pytorch_model.bin.index.json;
  /// else Meta's layout (meta_checkpoint.h) under Hugging Face's names. Tensors have the names of the model,
  /// whatever wrappers or keys of a training state stand around them (wrapped_names.h).
  static TensorStore open_model_directory(const std::filesystem::path& directory);

  /// As open_file, with the names that open_model_directory gives.
  static TensorStore open_checkpoint(const std::filesystem::path& path);

  /// directory/NAME.safetensors or, without it, directory/NAME.bin; nothing when neither is there.
  static std::optional<std::filesystem::path> find_file(const std::filesystem::path& directory,
                                                        const std::string& name);

  /// Whether open_model_directory would find weights under Hugging Face's file names.
  static bool has_model_files(const std::filesystem::path& directory);

  /// The tensors put together from pieces, which have to have one dtype and fit the whole: sizes of the
  /// pieces along `dim`, copies counted once, add up. Each is copied from the files to its place.
  static TensorStore join(const std::vector<TensorStore>& stores, const std::vector<JoinedTensor>& tensors);

  bool contains(const std::string& name) const { return tensors_.count(name) != 0; }
  /// Sorted by name.
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  /// Throws InputError when there is no such tensor, listing the nearest name.
  const TensorInfo& info(const std::string& name) const;
  /// The file that holds the tensor.
  const std::filesystem::path& file_of(const std::string& name) const;

  /// The files that hold the tensors, those of a joined tensor's pieces included.
  std::vector<std::filesystem::path> files() const;

  /// A fresh contiguous CPU tensor with the file's dtype and shape.
  at::Tensor load(const std::string& name) const;
  /// As load(), checked to have `shape` (InputError names file, tensor, both shapes) and converted to
  /// `dtype`; whole numbers are refused where floating point is wanted.
  at::Tensor load(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype) const;

  /// The same into a CPU tensor that is there: its shape is checked and its dtype kept.
  void load_into(const std::string& name, const at::Tensor& target) const;

  /// The checks of that load() alone.
  void check(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype) const;

  /// Whether view() can show the tensor in this dtype: it is stored so, whole and aligned.
  bool can_view(const std::string& name, at::ScalarType dtype) const;
  /// The tensor where it lies in the mapped file: only to be read, and only while the store lives. Checked to
  /// have `shape`. Throws Error where can_view() says no for its own dtype.
  at::Tensor view(const std::string& name, at::IntArrayRef shape) const;
  /// Hints about a viewed tensor: it is done with for now, or will be read soon.
  void release(const std::string& name) const;
  void will_need(const std::string& name) const;

  /// Whether two tensors have the same shape and, as numbers, the same elements. They are compared piece by
  /// piece where they lie whole in their files; a NaN is equal to nothing unless both are one place of one
  /// file.
  static bool are_equal(const TensorStore& a, const std::string& name_a, const TensorStore& b,
                        const std::string& name_b);

  /// Makes a tensor known under a further name.
  void add_alias(const std::string& alias, const std::string& name);

  /// __metadata__ of the first file; empty for files of torch.save.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  static TensorStore open_one_file(const std::filesystem::path& path);
  TensorStore under_model_names(const std::string& source) &&;
  static TensorStore open_shards(const std::filesystem::path& index_path);
  /// Of the tensor's shape, without a check.
  void fill(const std::string& name, const at::Tensor& result) const;
  const TensorInfo& info_with_shape(const std::string& name, at::IntArrayRef shape) const;
  /// What lies in the files of a tensor: itself, or the parts it is joined of.
  std::vector<TensorInfo> stored_parts(const std::string& name) const;
  void read_into(const TensorInfo& stored, const at::Tensor& target) const;

  /// One stored part of a joined tensor: it fills `size` places from `start` along `dim`, or repeats the part
  /// before it. Rotary rows are stored as [heads, D/2, 2, C].
  struct Piece {
    std::string name;
    TensorInfo stored;
    int64_t dim;
    int64_t start;
    int64_t size;
    bool is_rotary;
    bool is_copy;
  };
  std::vector<Piece> pieces_of(const JoinedTensor& joined, const std::vector<TensorStore>& stores) const;
  void check_copy(const Piece& first, const Piece& copy) const;

  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::string, std::vector<Piece>> pieces_;  // by the name of the joined tensor
  std::map<std::string, std::string> metadata_;
};

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// Writes one .safetensors file atomically, one tensor at a time: in the order
/// given, wider dtypes first so that each is aligned as the format's own library
/// does; metadata {"format": "pt"} unless given. Throws ResourceError when the
/// disk is full or not writable.
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

/// Writes model.safetensors, or shards of at most `max_shard_bytes` numbered as
/// transformers numbers them and model.safetensors.index.json, into an existing
/// folder. The other form, if it is there, is removed.
void write_model_tensors(const std::filesystem::path& directory, const NamedTensors& tensors,
                         uint64_t max_shard_bytes = 5'000'000'000);

}  // namespace longlora::checkpoint
