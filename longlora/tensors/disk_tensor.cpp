#include "longlora/tensors/disk_tensor.h"

#include <c10/util/accumulate.h>
#include <c10/util/strides.h>

#include <memory>

#include "longlora/core/scratch_file.h"

namespace longlora::tensors {
namespace {

// After so many rows of a lookup pages are released, because the system maps the pages around one that is
// read, too.
constexpr int64_t kRowsAtOnce = 256;

void delete_memory(void* memory) {
  delete static_cast<ScratchMemory*>(memory);
}

const ScratchMemory* memory_of(const at::Tensor& x) {
  if (!x.defined() || !x.has_storage()) return nullptr;
  return x.storage().data_ptr().cast_context<ScratchMemory>(&delete_memory);
}

}  // namespace

at::Tensor zeros_on_disk(at::IntArrayRef shape, at::ScalarType dtype, const std::filesystem::path& folder) {
  const auto num_bytes = static_cast<int64_t>(c10::multiply_integers(shape) * c10::elementSize(dtype));
  auto memory = std::make_unique<ScratchMemory>(folder, num_bytes);
  void* data = memory->data();
  c10::DataPtr pointer(data, memory.release(), &delete_memory, at::kCPU);
  const c10::Storage storage(c10::Storage::use_byte_size_t(), static_cast<size_t>(num_bytes),
                             std::move(pointer), /*allocator=*/nullptr, /*resizable=*/false);
  at::Tensor x = at::empty({0}, dtype);
  x.set_(storage, 0, shape, c10::contiguous_strides(shape));
  return x;
}

bool is_on_disk(const at::Tensor& x) {
  return memory_of(x) != nullptr;
}

void release_elements(const at::Tensor& x, int64_t begin, int64_t end) {
  const auto size = static_cast<int64_t>(x.element_size());
  if (const ScratchMemory* memory = memory_of(x))
    memory->release((x.storage_offset() + begin) * size, (end - begin) * size);
}

void will_need_elements(const at::Tensor& x, int64_t begin, int64_t end) {
  const auto size = static_cast<int64_t>(x.element_size());
  if (const ScratchMemory* memory = memory_of(x))
    memory->will_need((x.storage_offset() + begin) * size, (end - begin) * size);
}

void copy_by_pieces(const at::Tensor& to, const at::Tensor& from) {
  const at::Tensor target = to.detach().view(-1), source = from.detach().view(-1);
  for_each_disk_piece(target.numel(), [&](int64_t begin, int64_t end) {
    target.slice(0, begin, end).copy_(source.slice(0, begin, end));
    release_elements(target, begin, end);
    release_elements(source, begin, end);
  });
}

at::Tensor select_rows(const at::Tensor& weight, const at::Tensor& rows) {
  if (!is_on_disk(weight)) return weight.index_select(0, rows);
  at::Tensor selected = at::empty({rows.numel(), weight.size(1)}, weight.options());
  for (int64_t begin = 0; begin < rows.numel(); begin += kRowsAtOnce) {
    const int64_t end = std::min(rows.numel(), begin + kRowsAtOnce);
    at::Tensor piece = selected.slice(0, begin, end);
    at::index_select_out(piece, weight, 0, rows.slice(0, begin, end));
    release(weight);
  }
  return selected;
}

}  // namespace longlora::tensors
