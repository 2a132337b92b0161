#include "longlora/ops/matrix_product.h"

#include <algorithm>
#include <vector>

#include "longlora/ops/cpu/chunks.h"
#include "longlora/ops/cpu/product_kernels.h"
#include "longlora/ops/cpu/tensor_access.h"

namespace longlora::ops {
namespace {

using cpu::Bf16;
using cpu::element_data;
using cpu::kPanel;

// Panels are whole vectors wide.
constexpr int64_t kVector = 16;

// A block of the left operand and a panel of the right stay in a second-level cache of a MiB together.
constexpr int64_t kBlockRows = 192;
constexpr int64_t kBlockDepth = 1024;
// Packed at a time; larger right operands come in groups of panels.
constexpr int64_t kPackedBytes = int64_t{8} << 20;
// With fewer rows packing costs more than it brings.
constexpr int64_t kLeastRows = 48;
constexpr int64_t kLeastColumns = 64;

int64_t rounded_up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

/// Rows of the product's inner dimension that are gone through together.
struct Piece {
  cpu::LeftBlock left;  // at the first row of a
  int64_t depth;
  int64_t begin;  // in the packed panels
};

/// Pieces of `k` pairs-aligned elements, as equal as can be.
void append_pieces(cpu::LeftBlock left, int64_t k, int64_t begin, std::vector<Piece>& pieces) {
  const int64_t count = (k + kBlockDepth - 1) / kBlockDepth;
  const int64_t depth = rounded_up((k + count - 1) / count, 2);
  pieces.reserve(pieces.size() + static_cast<size_t>(count));
  for (int64_t at = 0; at < k; at += depth)
    pieces.push_back({{left.data + at / 2 * left.pair_stride, left.row_stride, left.pair_stride},
                      std::min(depth, k - at),
                      begin + at});
}

bool is_bfloat16_matrix(const at::Tensor& x) {
  return x.device().is_cpu() && x.scalar_type() == at::kBFloat16 && x.dim() == 2 && x.stride(1) == 1;
}

/// As pack_panel, of a matrix in four bits: dequantised in pieces of the depth.
void pack_quantized_panel(const cpu::ProductKernels& kernels, const RightOperand& right, int64_t column,
                          int64_t columns, Bf16* out) {
  const int64_t depth = right.depth(), width = rounded_up(columns, kVector);
  const at::Tensor room = at::empty({kPanel * kBlockDepth}, at::kBFloat16);
  for (int64_t begin = 0; begin < depth; begin += kBlockDepth) {
    const int64_t count = std::min(kBlockDepth, depth - begin);
    const int64_t rows = right.transposed ? columns : count, length = right.transposed ? count : columns;
    const at::Tensor part = room.slice(0, 0, rows * length).view({rows, length});
    if (right.transposed) {
      dequantize_nf4_part(right.matrix.nf4(), column, begin, part);
      kernels.pack_transposed(element_data<Bf16>(part), count, count, columns, out + begin * width);
    } else {
      dequantize_nf4_part(right.matrix.nf4(), begin, column, part);
      kernels.pack(element_data<Bf16>(part), columns, count, columns, out + begin * width);
    }
  }
}

void pack_panel(const cpu::ProductKernels& kernels, const RightOperand& right, int64_t column,
                int64_t columns, Bf16* out) {
  if (right.matrix.is_nf4()) return pack_quantized_panel(kernels, right, column, columns, out);
  const at::Tensor& b = right.matrix.dense();
  const Bf16* data = element_data<Bf16>(b);
  if (right.transposed)
    kernels.pack_transposed(data + column * b.stride(0), b.stride(0), b.size(1), columns, out);
  else
    kernels.pack(data + column, b.stride(0), b.size(0), columns, out);
}

cpu::LeftBlock rows_of(const at::Tensor& a) {
  return {element_data<Bf16>(a), a.stride(0), 2};
}

/// One product of packed panels: rows × panels in blocks.
class Blocks {
 public:
  Blocks(const cpu::ProductKernels& kernels, std::vector<Piece> pieces, int64_t rows)
      : kernels_(kernels), pieces_(std::move(pieces)), rows_(rows) {
    for (const Piece& piece : pieces_) depth_ = std::max(depth_, piece.begin + rounded_up(piece.depth, 2));
  }

  int64_t depth() const { return depth_; }
  int64_t num_row_blocks() const { return cpu::num_tasks(rows_, kBlockRows); }

  /// Rows of `block` and the panel at `packed`, whose columns the result has `columns` of.
  void finish(int64_t block, const Bf16* packed, int64_t columns, const float* bias, Bf16* out,
              int64_t out_stride, float* sums) const {
    const int64_t first = block * kBlockRows, count = std::min(kBlockRows, rows_ - first);
    const int64_t width = rounded_up(columns, kVector);
    for (size_t i = 0; i < pieces_.size(); ++i) {
      const cpu::RightBlock right = {packed + pieces_[i].begin * width, width};
      if (i + 1 < pieces_.size())
        kernels_.multiply(count, width, pieces_[i].depth, i > 0, left(i, first), right, sums, width);
      else
        kernels_.finish(count, width, pieces_[i].depth, i > 0, left(i, first), right, sums, width,
                        {out + first * out_stride, out_stride, columns, bias});
    }
  }

 private:
  cpu::LeftBlock left(size_t piece, int64_t row) const {
    const cpu::LeftBlock& whole = pieces_[piece].left;
    return {whole.data + row * whole.row_stride, whole.row_stride, whole.pair_stride};
  }

  const cpu::ProductKernels& kernels_;
  std::vector<Piece> pieces_;
  int64_t rows_, depth_ = 0;
};

at::Tensor product_of_blocks(const cpu::ProductKernels& kernels, const at::Tensor& a,
                             const RightOperand& right, const ProductTerms& terms) {
  const int64_t rows = a.size(0), k = a.size(1), columns = right.width();
  const bool low_rank = terms.low_rank.defined();
  std::vector<Piece> pieces;
  append_pieces(rows_of(a), k, 0, pieces);
  if (low_rank) append_pieces(rows_of(terms.low_rank), terms.low_rank.size(1), k, pieces);
  const Blocks blocks(kernels, std::move(pieces), rows);
  const int64_t depth = blocks.depth();

  at::Tensor y = at::empty({rows, columns}, a.options());
  at::Tensor bias;
  if (terms.bias.defined()) {
    bias = at::zeros({rounded_up(columns, kPanel)}, at::kFloat);
    bias.slice(0, 0, columns).copy_(terms.bias);
  }
  const int64_t panels = cpu::num_tasks(columns, kPanel);
  const int64_t group = std::clamp<int64_t>(kPackedBytes / (2 * kPanel * depth), 1, panels);
  const at::Tensor packed = at::empty({group, depth * kPanel}, a.options());
  auto* const packed_data = element_data<Bf16>(packed);
  for (int64_t begin = 0; begin < panels; begin += group) {
    const int64_t count = std::min(group, panels - begin);
    const auto columns_at = [&](int64_t panel) { return std::min(kPanel, columns - panel * kPanel); };
    at::parallel_for(0, count, 1, [&](int64_t first, int64_t last) {
      for (int64_t p = first; p < last; ++p) {
        const int64_t panel = begin + p, width = columns_at(panel);
        Bf16* const out = packed_data + p * depth * kPanel;
        pack_panel(kernels, right, panel * kPanel, width, out);
        if (low_rank)
          pack_panel(kernels, terms.low_rank_right, panel * kPanel, width,
                     out + k * rounded_up(width, kVector));
      }
    });
    const int64_t row_blocks = blocks.num_row_blocks();
    at::parallel_for(0, row_blocks * count, 1, [&](int64_t first, int64_t last) {
      std::vector<float> sums(kBlockRows * kPanel);
      for (int64_t task = first; task < last; ++task) {
        const int64_t panel = begin + task % count;
        blocks.finish(task / count, packed_data + task % count * depth * kPanel, columns_at(panel),
                      bias.defined() ? bias.const_data_ptr<float>() + panel * kPanel : nullptr,
                      element_data<Bf16>(y) + panel * kPanel, columns, sums.data());
      }
    });
  }
  return y;
}

/// Elements go in pairs.
bool takes_depth(int64_t k) {
  return k > 0 && k % 2 == 0;
}

bool takes_blocks(const at::Tensor& a, const RightOperand& right, const ProductTerms& terms) {
  const bool right_fits = right.matrix.is_nf4()
                              ? a.size(0) > cpu::kFewRows
                              : is_bfloat16_matrix(right.matrix.dense()) && a.size(0) >= kLeastRows;
  const bool shapes =
      is_bfloat16_matrix(a) && right_fits && right.width() >= kLeastColumns && takes_depth(a.size(1));
  if (!shapes || !terms.low_rank.defined()) return shapes;
  return is_bfloat16_matrix(terms.low_rank) && is_bfloat16_matrix(terms.low_rank_right.matrix.dense()) &&
         takes_depth(terms.low_rank.size(1));
}

/// As in decoding: all that matters is that the weights are read once.
at::Tensor product_of_few_rows(const cpu::ProductKernels& kernels, const at::Tensor& a, const at::Tensor& b) {
  const int64_t rows = a.size(0), k = a.size(1), columns = b.size(0);
  at::Tensor y = at::empty({rows, columns}, a.options());
  const int64_t per_task = std::max<int64_t>(8, cpu::kElementsPerTask / std::max<int64_t>(1, k));
  cpu::parallel_chunks(columns, per_task, [&](int64_t, int64_t begin, int64_t end) {
    kernels.multiply_rows(rows, end - begin, k, element_data<Bf16>(a), a.stride(0),
                          element_data<Bf16>(b) + begin * b.stride(0), b.stride(0),
                          element_data<Bf16>(y) + begin, columns);
  });
  return y;
}

/// Parts of the result, each a product with a part of the matrix that is dequantised for it.
at::Tensor product_with_quantized(const at::Tensor& a, const RightOperand& right) {
  const Nf4Matrix& matrix = right.matrix.nf4();
  if (!a.is_cpu() || !uses_cpu_kernels()) {
    const at::Tensor whole = dequantize_nf4(matrix, a.scalar_type());
    return at::mm(a, right.transposed ? whole.t() : whole);
  }
  const bool direct = a.scalar_type() == at::kFloat || a.scalar_type() == at::kBFloat16;
  const at::ScalarType dtype = direct ? a.scalar_type() : at::kFloat;
  at::Tensor y = at::empty({a.size(0), right.width()}, a.options());
  const int64_t depth = right.depth();
  const int64_t at_once = std::max<int64_t>(kPanel, kPackedBytes / 2 / depth / kPanel * kPanel);
  for (int64_t begin = 0; begin < right.width(); begin += at_once) {
    const int64_t count = std::min(at_once, right.width() - begin);
    const at::Tensor part =
        right.transposed ? at::empty({count, depth}, dtype) : at::empty({depth, count}, dtype);
    const int64_t rows_at_once = std::max<int64_t>(1, cpu::kElementsPerTask / part.size(1));
    cpu::parallel_chunks(part.size(0), rows_at_once, [&](int64_t, int64_t first, int64_t last) {
      const int64_t row = (right.transposed ? begin : 0) + first, column = right.transposed ? 0 : begin;
      dequantize_nf4_part(matrix, row, column, part.slice(0, first, last));
    });
    const at::Tensor factor = (right.transposed ? part.t() : part).to(a.scalar_type());
    y.slice(1, begin, begin + count).copy_(at::mm(a, factor));
  }
  return y;
}

at::Tensor plain_product(const at::Tensor& a, const RightOperand& right) {
  if (right.matrix.is_nf4()) return product_with_quantized(a, right);
  const at::Tensor& b = right.matrix.dense();
  const cpu::ProductKernels* const kernels = cpu::product_kernels();
  if (kernels != nullptr && right.transposed && is_bfloat16_matrix(a) && is_bfloat16_matrix(b) &&
      a.size(0) <= cpu::kFewRows)
    return product_of_few_rows(*kernels, a, b);
  return right.transposed ? at::linear(a, b) : at::mm(a, b);
}

/// A few rows: sums and terms in float32, rounded once.
at::Tensor product_with_codes(const at::Tensor& a, const Nf4Matrix& matrix, const ProductTerms& terms) {
  at::Tensor y = multiply_nf4_rows(a, matrix);
  if (terms.bias.defined()) y.add_(terms.bias);
  if (terms.low_rank.defined()) {
    const at::Tensor right = terms.low_rank_right.matrix.dense().to(at::kFloat);
    y.addmm_(terms.low_rank.to(at::kFloat), terms.low_rank_right.transposed ? right.t() : right);
  }
  return y.to(a.scalar_type());
}

}  // namespace

at::Tensor matrix_product(const at::Tensor& a, const RightOperand& right, const ProductTerms& terms) {
  const cpu::ProductKernels* const kernels = cpu::product_kernels();
  const bool in_four_bits = right.matrix.is_nf4();
  if (in_four_bits && right.transposed && takes_nf4_rows(a, right.matrix.nf4()))
    return product_with_codes(a, right.matrix.nf4(), terms);
  if (kernels != nullptr && takes_blocks(a, right, terms))
    return product_of_blocks(*kernels, a, right, terms);
  const bool few_rows = kernels != nullptr && a.size(0) <= cpu::kFewRows;
  const bool with_bias = terms.bias.defined() && right.transposed && !few_rows && !in_four_bits;
  at::Tensor y = with_bias ? at::linear(a, right.matrix.dense(), terms.bias) : plain_product(a, right);
  if (terms.bias.defined() && !with_bias) y.add_(terms.bias);
  if (terms.low_rank.defined()) {
    const at::Tensor& low_right = terms.low_rank_right.matrix.dense();
    y.addmm_(terms.low_rank, terms.low_rank_right.transposed ? low_right.t() : low_right);
  }
  return y;
}

void add_transposed_product(const at::Tensor& a, const at::Tensor& b, at::Tensor& sum) {
  const cpu::ProductKernels* const kernels = cpu::product_kernels();
  const int64_t depth = a.size(0), rows = a.size(1), columns = b.size(1);
  if (kernels == nullptr || !is_bfloat16_matrix(a) || !is_bfloat16_matrix(b) || rows < kLeastRows ||
      columns < kLeastColumns || depth < 2 || columns % kVector != 0 || sum.stride(1) != 1) {
    sum.add_(at::mm(a.t(), b));
    return;
  }
  // Both operands are packed the same way: pairs along the inner dimension.
  const int64_t padded = rounded_up(depth, 2);
  const int64_t row_panels = cpu::num_tasks(rows, kPanel), panels = cpu::num_tasks(columns, kPanel);
  const int64_t inner = std::min(padded, kBlockDepth);
  const at::Tensor packed_left = at::empty({row_panels, inner * kPanel}, a.options());
  const at::Tensor packed_right = at::empty({panels, inner * kPanel}, b.options());
  const auto width_at = [](int64_t total, int64_t panel) { return std::min(kPanel, total - panel * kPanel); };
  for (int64_t begin = 0; begin < depth; begin += inner) {
    const int64_t count = std::min(inner, depth - begin);
    const auto pack_all = [&](const at::Tensor& from, const at::Tensor& to, int64_t num_panels) {
      at::parallel_for(0, num_panels, 1, [&](int64_t first, int64_t last) {
        for (int64_t p = first; p < last; ++p)
          kernels->pack(element_data<Bf16>(from) + begin * from.stride(0) + p * kPanel, from.stride(0), count,
                        width_at(from.size(1), p), element_data<Bf16>(to) + p * inner * kPanel);
      });
    };
    pack_all(a, packed_left, row_panels);
    pack_all(b, packed_right, panels);
    at::parallel_for(0, row_panels * panels, 1, [&](int64_t first, int64_t last) {
      for (int64_t task = first; task < last; ++task) {
        const int64_t row = task / panels, panel = task % panels, width = width_at(columns, panel);
        const int64_t height = width_at(rows, row);
        kernels->multiply(
            height, width, rounded_up(count, 2), /*add=*/true,
            {element_data<Bf16>(packed_left) + row * inner * kPanel, 2, 2 * rounded_up(height, kVector)},
            {element_data<Bf16>(packed_right) + panel * inner * kPanel, width},
            sum.mutable_data_ptr<float>() + row * kPanel * sum.stride(0) + panel * kPanel, sum.stride(0));
      }
    });
  }
}

}  // namespace longlora::ops
