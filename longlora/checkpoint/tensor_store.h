// Named tensors in files of any format. Files are mapped and opened lazily; a tensor is copied once when it
// is loaded, or seen where it lies.
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
#include "longlora/gguf/block_types.h"

namespace longlora::checkpoint {

/// Where one tensor lies and what it is.
struct TensorInfo {
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  size_t file_index;      // into the files of the TensorStore
  uint64_t offset_bytes;  // from the start of the file
  uint64_t num_bytes;     // of the tensor when loaded
  /// In elements; empty for a tensor whose elements follow each other. Tensors of torch.save may be
  /// transposed, cut or repeated views of storages that others share.
  std::vector<int64_t> strides = {};
  /// Set where the file holds blocks of quantised numbers: they are loaded in any dtype, from float32, and
  /// `dtype` is the one of load() by name alone.
  std::optional<gguf::BlockType> blocks = {};
};

/// Rows of a weight that lie in another order than the model's: each run of outer · inner · rows of them is
/// stored as [outer, inner, rows] and belongs as [inner, outer, rows].
struct RowSwap {
  int64_t outer;
  int64_t inner;
  int64_t rows = 1;

  int64_t run() const { return outer * inner * rows; }
  /// From the interleaved rotary layout (pairs 2i, 2i+1) of a head to halves (i, i + D/2).
  static RowSwap rotary(int64_t head_dim) { return {head_dim / 2, 2}; }
};

/// A tensor whose pieces lie in several stores, each under the same name.
struct JoinedTensor {
  std::string name;
  std::vector<int64_t> shape;  // of the whole tensor
  std::string piece_name;
  /// The dimension along which the pieces follow each other, in the order of the stores.
  int64_t dim = 0;
  /// How many pieces in a row are copies of one another. Copies that differ are refused when they are loaded.
  int64_t copies = 1;
  /// Where set, the pieces have whole runs of rows that are put in order.
  std::optional<RowSwap> swap = {};
};

/// A read-only set of named tensors over one or more mapped files. Opening reads only headers. Copies of the
/// object share the mapping. Thread-safe for reading.
class TensorStore {
 public:
  /// Opens one file: safetensors, or what torch.save wrote (.bin, .pt, .pth; torch_file.h says how nested
  /// tensors are named). The content decides which of them it is. A folder is opened as open_model_directory
  /// does.
  /// Throws InputError naming file, tensor and reason where the file is truncated, has tensors that overlap,
  /// are out of bounds, appear twice or have an unknown dtype, or is a pickle that asks for more than tensors
  /// and plain containers. Where the file holds no weights (a Git LFS pointer, a page of a server, GGUF …),
  /// the message says what it is.
  static TensorStore open_file(const std::filesystem::path& path);

  /// Opens a Hugging Face directory: model.safetensors, or the shards named by
  /// model.safetensors.index.json (every shard must exist, in the folder or below it, and hold the tensors
  /// the index promises; of one that two shards hold the last in the order of their names is taken, with a
  /// warning where they differ); else pytorch_model.bin or pytorch_model.bin.index.json;
  /// else Meta's layout (meta_checkpoint.h) or GGUF (gguf_checkpoint.h; the path may be the file itself)
  /// under Hugging Face's names. Tensors have the names of the model, whatever wrappers or keys of a training
  /// state stand around them (wrapped_names.h).
  static TensorStore open_model_directory(const std::filesystem::path& directory);

  /// Opens one file as open_file does, with names as open_model_directory gives them.
  static TensorStore open_checkpoint(const std::filesystem::path& path);

  /// directory/NAME.safetensors or, where that is missing, directory/NAME.bin. Returns nullopt where neither
  /// is there.
  static std::optional<std::filesystem::path> find_file(const std::filesystem::path& directory,
                                                        const std::string& name);

  /// Whether open_model_directory would find weights under Hugging Face's file names.
  static bool has_model_files(const std::filesystem::path& directory);

  /// The tensors that are put together from pieces. The pieces have to have one dtype and to fit the whole:
  /// their sizes along `dim`, with copies counted once, add up. Each piece is copied from its file to its
  /// place; a tensor that is one piece in order stays where it lies.
  static TensorStore join(const std::vector<TensorStore>& stores, const std::vector<JoinedTensor>& tensors);

  /// Tensors that lie in `files` as they are described.
  static TensorStore of_files(std::vector<std::shared_ptr<const MappedFile>> files,
                              std::map<std::string, TensorInfo> tensors);

  bool contains(const std::string& name) const { return tensors_.count(name) != 0; }
  /// All tensors, sorted by name.
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  /// What is known of a tensor. Where there is no such tensor, throws InputError naming the one with the
  /// nearest name.
  const TensorInfo& info(const std::string& name) const;
  /// The file that holds the tensor.
  const std::filesystem::path& file_of(const std::string& name) const;

  /// The files that hold the tensors, including those of the pieces of joined tensors.
  std::vector<std::filesystem::path> files() const;

  /// Loads a tensor into a new, contiguous CPU tensor with the file's dtype and shape.
  at::Tensor load(const std::string& name) const;
  /// Does the same, checks that the tensor has `shape` (InputError names file, tensor and both shapes), and
  /// converts it to `dtype`. Whole numbers are refused where floating point is wanted.
  at::Tensor load(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype) const;

  /// Does the same into an existing CPU tensor, whose shape is checked and whose dtype is kept.
  void load_into(const std::string& name, const at::Tensor& target) const;

  /// Does only the checks of load() with a shape and a dtype.
  void check(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype) const;

  /// Whether view() can show the tensor in this dtype: it is stored in that dtype, whole and aligned.
  bool can_view(const std::string& name, at::ScalarType dtype) const;
  /// The tensor where it lies in the mapped file. It may only be read, and only while the store lives. It is
  /// checked to have `shape`. Throws Error where can_view() is false for the dtype of the tensor.
  at::Tensor view(const std::string& name, at::IntArrayRef shape) const;
  /// Hints for a viewed tensor: it is not needed for now, or it will be read soon.
  void release(const std::string& name) const;
  void will_need(const std::string& name) const;

  /// Whether two tensors have the same shape and, as numbers, the same elements. They are compared piece by
  /// piece where they lie whole in their files. A NaN makes them differ, unless both are the same place of
  /// the same file.
  static bool are_equal(const TensorStore& a, const std::string& name_a, const TensorStore& b,
                        const std::string& name_b);

  /// Makes a tensor known under a further name.
  void add_alias(const std::string& alias, const std::string& name);

  /// The __metadata__ of the first file; empty for files of torch.save.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  static TensorStore open_one_file(const std::filesystem::path& path);
  TensorStore under_model_names(const std::string& source) &&;
  static TensorStore open_shards(const std::filesystem::path& index_path);
  /// Reads a tensor into one of its shape, without a check.
  void fill(const std::string& name, const at::Tensor& result) const;
  const TensorInfo& info_with_shape(const std::string& name, at::IntArrayRef shape) const;
  /// What the files hold of a tensor: the tensor itself, or the parts that it is joined from.
  std::vector<TensorInfo> stored_parts(const std::string& name) const;
  void read_into(const TensorInfo& stored, const at::Tensor& target) const;
  void read_blocks(const TensorInfo& stored, const at::Tensor& target) const;

  /// One stored part of a joined tensor. It fills `size` places from `start` along `dim`, or repeats the part
  /// before it. Rows to swap are stored as [runs, outer, inner, rows, …].
  struct Piece {
    std::string name;
    TensorInfo stored;
    int64_t dim;
    int64_t start;
    int64_t size;
    bool is_swapped;
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

/// Writes one .safetensors file atomically, one tensor at a time. Tensors stand in the given order, but wider
/// dtypes first, so that each is aligned as the format's own library aligns it. The metadata is {"format":
/// "pt"} unless another is given. Throws ResourceError when the disk is full or not writable.
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

/// Writes model.safetensors into a folder that exists, or shards of at most `max_shard_bytes` with their
/// index model.safetensors.index.json, numbered as transformers numbers them. The other of the two forms, if
/// it is there, is removed.
void write_model_tensors(const std::filesystem::path& directory, const NamedTensors& tensors,
                         uint64_t max_shard_bytes = 5'000'000'000);

}  // namespace longlora::checkpoint
