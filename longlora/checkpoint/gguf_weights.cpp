#include "longlora/checkpoint/gguf_weights.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>

#include "longlora/checkpoint/torch_writer.h"
#include "longlora/gguf/quantise.h"

namespace longlora::checkpoint {
namespace {

using gguf::BlockType;

constexpr std::pair<const char*, BlockType> kTypes[] = {
    {"f32", BlockType::kF32},   {"f16", BlockType::kF16},   {"bf16", BlockType::kBF16},
    {"q8_0", BlockType::kQ8_0}, {"q4_0", BlockType::kQ4_0}, {"q4_1", BlockType::kQ4_1}};

// From the model's order to the one in which a reader applies `swap`.
at::Tensor in_file_order(const at::Tensor& tensor, const RowSwap& swap) {
  std::vector<int64_t> shape = tensor.sizes().vec();
  const int64_t runs = shape.front() / swap.run();
  shape.erase(shape.begin());
  shape.insert(shape.begin(), {runs, swap.inner, swap.outer, swap.rows});
  return tensor.view(shape).transpose(1, 2).contiguous();
}

void write_weight(const GgufWeight& weight, const TensorSource& source, const gguf::ByteSink& write) {
  constexpr int64_t kElementsAtOnce = int64_t{1} << 22, kBlocksAtOnce = 1024;
  at::Tensor tensor = internal::make_tensor(weight.spec, source);
  internal::check_finite(weight.spec, tensor, 0, tensor.numel());
  if (weight.swap) tensor = in_file_order(tensor, *weight.swap);
  const BlockType type = weight.layout.type;
  const int64_t elements = gguf::block_elements(type), blocks = tensor.numel() / elements;
  const auto size = static_cast<int64_t>(gguf::block_bytes(type));
  const int64_t at_once = kElementsAtOnce / elements;
  std::vector<std::byte> bytes(static_cast<size_t>(std::min(blocks, at_once) * size));
  const auto* values = tensor.const_data_ptr<float>();
  for (int64_t first = 0; first < blocks; first += at_once) {
    const int64_t count = std::min(at_once, blocks - first);
    at::parallel_for(0, count, kBlocksAtOnce, [&](int64_t begin, int64_t end) {
      gguf::quantise(type, values + (first + begin) * elements, end - begin, bytes.data() + begin * size);
    });
    write(bytes.data(), static_cast<size_t>(count * size));
  }
}

}  // namespace

const std::vector<std::string>& gguf_type_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const auto& [name, type] : kTypes) all.emplace_back(name);
    return all;
  }();
  return names;
}

std::optional<BlockType> gguf_type(const std::string& name) {
  for (const auto& [known, type] : kTypes)
    if (name == known) return type;
  return std::nullopt;
}

BlockType gguf_weight_type(BlockType asked, const std::vector<int64_t>& shape, bool is_head) {
  if (shape.size() < 2) return BlockType::kF32;
  const bool has_four_bits = asked == BlockType::kQ4_0 || asked == BlockType::kQ4_1;
  const BlockType type = is_head && has_four_bits ? BlockType::kQ8_0 : asked;
  return shape.back() % gguf::block_elements(type) == 0 ? type : BlockType::kF16;
}

void write_gguf_weights(const std::filesystem::path& path, const gguf::MetadataWriter& metadata,
                        const std::vector<GgufWeight>& weights, const TensorSource& source) {
  std::vector<gguf::TensorLayout> layouts;
  layouts.reserve(weights.size());
  for (const GgufWeight& weight : weights) layouts.push_back(weight.layout);
  gguf::write_gguf_file(path, metadata, layouts, [&](size_t index, const gguf::ByteSink& write) {
    write_weight(weights[index], source, write);
  });
}

}  // namespace longlora::checkpoint
