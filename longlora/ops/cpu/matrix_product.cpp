#include <algorithm>
#include <vector>

#include "longlora/ops/cpu/chunks.h"
#include "longlora/ops/cpu/ops.h"
#include "longlora/ops/cpu/product_kernels.h"
#include "longlora/ops/cpu/tensor_access.h"

namespace longlora::ops::cpu {
namespace {

// The width of a panel is a multiple of a vector's.
constexpr int64_t kVector = 16;

// A block of the left operand and a panel of the right one fit together into a second-level cache of a MiB.
constexpr int64_t kBlockRows = 192;
constexpr int64_t kBlockDepth = 1024;
// How much of the right operand is packed at a time. A larger one is packed in several groups of panels.
constexpr int64_t kPackedBytes = int64_t{8} << 20;
// With fewer rows packing takes more time than it saves.
constexpr int64_t kLeastRows = 48;
constexpr int64_t kLeastColumns = 64;

int64_t rounded_up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

// A part of the inner dimension that is multiplied before the next one.
struct Piece {
  LeftBlock left;  // the whole left operand
  int64_t offset;  // of the piece in a row of the left operand, in elements
  int64_t depth;
  int64_t begin;  // its first row in the packed panels
};

// Divides `k` elements into pieces that are as equal as possible and begin at even places.
void append_pieces(LeftBlock left, int64_t k, int64_t begin, std::vector<Piece>& pieces) {
  const int64_t count = (k + kBlockDepth - 1) / kBlockDepth;
  const int64_t depth = rounded_up((k + count - 1) / count, 2);
  pieces.reserve(pieces.size() + static_cast<size_t>(count));
  for (int64_t at = 0; at < k; at += depth)
    pieces.push_back({left, at / 2 * left.pair_stride, std::min(depth, k - at), begin + at});
}

bool is_bfloat16_matrix(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 && x.dim() == 2 && x.stride(1) == 1;
}

// As pack_panel, for a matrix in four bits, which is dequantised in pieces of the depth.
void pack_quantized_panel(const ProductKernels& kernels, const RightOperand& right, int64_t column,
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

void pack_panel(const ProductKernels& kernels, const RightOperand& right, int64_t column, int64_t columns,
                Bf16* out) {
  if (right.matrix.is_nf4()) return pack_quantized_panel(kernels, right, column, columns, out);
  const at::Tensor& b = right.matrix.dense();
  const Bf16* data = element_data<Bf16>(b);
  if (right.transposed)
    kernels.pack_transposed(data + column * b.stride(0), b.stride(0), b.size(1), columns, out);
  else
    kernels.pack(data + column, b.stride(0), b.size(0), columns, out);
}

LeftBlock rows_of(const at::Tensor& a) {
  return {element_data<Bf16>(a), a.stride(0), 2};
}

// A product with packed panels. It is computed in blocks of some rows and one panel.
class Blocks {
 public:
  Blocks(const ProductKernels& kernels, std::vector<Piece> pieces, int64_t rows)
      : kernels_(kernels), pieces_(std::move(pieces)), rows_(rows) {
    for (const Piece& piece : pieces_) depth_ = std::max(depth_, piece.begin + rounded_up(piece.depth, 2));
  }

  int64_t depth() const { return depth_; }
  int64_t num_row_blocks() const { return num_tasks(rows_, kBlockRows); }

  // Computes the rows of a block for the panel at `packed`, of which the result has `columns` columns.
  void finish(int64_t block, const Bf16* packed, int64_t columns, const float* bias, Bf16* out,
              int64_t out_stride, float* sums) const {
    const int64_t first = block * kBlockRows, count = std::min(kBlockRows, rows_ - first);
    const int64_t width = rounded_up(columns, kVector);
    for (size_t i = 0; i < pieces_.size(); ++i) {
      const RightBlock right = {packed + pieces_[i].begin * width, width};
      if (i + 1 < pieces_.size())
        kernels_.multiply(count, width, pieces_[i].depth, i > 0, left(i, first), right, sums, width);
      else
        kernels_.finish(count, width, pieces_[i].depth, i > 0, left(i, first), right, sums, width,
                        {out + first * out_stride, out_stride, columns, bias});
    }
  }

 private:
  LeftBlock left(size_t piece, int64_t row) const {
    const LeftBlock& whole = pieces_[piece].left;
    return {whole.data + pieces_[piece].offset + row * whole.row_stride, whole.row_stride, whole.pair_stride};
  }

  const ProductKernels& kernels_;
  std::vector<Piece> pieces_;
  int64_t rows_, depth_ = 0;
};

at::Tensor product_of_blocks(const ProductKernels& kernels, const at::Tensor& a, const RightOperand& right,
                             const ProductTerms& terms) {
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
    bias = at::zeros({rounded_up(columns, kPanel)}, a.options().dtype(at::kFloat));
    bias.slice(0, 0, columns).copy_(terms.bias);
  }
  const int64_t panels = num_tasks(columns, kPanel);
  const int64_t group = std::clamp<int64_t>(kPackedBytes / (2 * kPanel * depth), 1, panels);
  const at::Tensor packed = at::empty({group, depth * kPanel}, a.options());
  auto* const packed_data = element_data<Bf16>(packed);
  for (int64_t begin = 0; begin < panels; begin += group) {
    const int64_t count = std::min(group, panels - begin);
    const auto columns_at = [&](int64_t panel) { return std::min(kPanel, columns - panel * kPanel); };
    parallel_tasks(count, [&](int64_t first, int64_t last) {
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
    parallel_tasks(row_blocks * count, [&](int64_t first, int64_t last) {
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

// Elements are multiplied in pairs, so that the depth has to be even.
bool takes_depth(int64_t k) {
  return k > 0 && k % 2 == 0;
}

bool takes_blocks(const at::Tensor& a, const RightOperand& right, const ProductTerms& terms) {
  const bool right_fits = right.matrix.is_nf4()
                              ? a.size(0) > kMostUnpackedRows
                              : is_bfloat16_matrix(right.matrix.dense()) && a.size(0) >= kLeastRows;
  const bool shapes =
      is_bfloat16_matrix(a) && right_fits && right.width() >= kLeastColumns && takes_depth(a.size(1));
  if (!shapes || !terms.low_rank.defined()) return shapes;
  return is_bfloat16_matrix(terms.low_rank) && is_bfloat16_matrix(terms.low_rank_right.matrix.dense()) &&
         takes_depth(terms.low_rank.size(1));
}

// Multiplies a few rows, as in decoding, where the time is that of reading the weights once.
at::Tensor product_of_few_rows(const ProductKernels& kernels, const at::Tensor& a, const at::Tensor& b) {
  const int64_t rows = a.size(0), k = a.size(1), columns = b.size(0);
  at::Tensor y = at::empty({rows, columns}, a.options());
  const int64_t per_task = std::max<int64_t>(8, kElementsPerTask / std::max<int64_t>(1, k));
  parallel_chunks(columns, per_task, [&](int64_t, int64_t begin, int64_t end) {
    kernels.multiply_rows(rows, end - begin, k, element_data<Bf16>(a), a.stride(0),
                          element_data<Bf16>(b) + begin * b.stride(0), b.stride(0),
                          element_data<Bf16>(y) + begin, columns);
  });
  return y;
}

// Computes the result in parts. For each a part of the matrix is dequantised.
at::Tensor product_with_quantized(const at::Tensor& a, const RightOperand& right) {
  const Nf4Matrix& matrix = right.matrix.nf4();
  at::Tensor y = at::empty({a.size(0), right.width()}, a.options());
  const int64_t depth = right.depth();
  const int64_t at_once = std::max<int64_t>(kPanel, kPackedBytes / 2 / depth / kPanel * kPanel);
  for (int64_t begin = 0; begin < right.width(); begin += at_once) {
    const int64_t count = std::min(at_once, right.width() - begin);
    const at::Tensor part =
        right.transposed ? at::empty({count, depth}, a.options()) : at::empty({depth, count}, a.options());
    const int64_t rows_at_once = std::max<int64_t>(1, kElementsPerTask / part.size(1));
    parallel_chunks(part.size(0), rows_at_once, [&](int64_t, int64_t first, int64_t last) {
      const int64_t row = (right.transposed ? begin : 0) + first, column = right.transposed ? 0 : begin;
      dequantize_nf4_part(matrix, row, column, part.slice(0, first, last));
    });
    y.slice(1, begin, begin + count).copy_(at::mm(a, right.transposed ? part.t() : part));
  }
  return y;
}

// Multiplies a few rows. Sums and terms are in float32 and are rounded once.
at::Tensor product_with_codes(const at::Tensor& a, const Nf4Matrix& matrix, const ProductTerms& terms) {
  at::Tensor y = multiply_nf4_rows(a, matrix);
  if (terms.bias.defined()) y.add_(terms.bias);
  if (terms.low_rank.defined()) {
    const at::Tensor right = terms.low_rank_right.matrix.dense().to(at::kFloat);
    y.addmm_(terms.low_rank.to(at::kFloat), terms.low_rank_right.transposed ? right.t() : right);
  }
  return y.to(a.scalar_type());
}

// The ways to compute a product.
enum class Way {
  kCodes,         // a few rows, straight from the codes of four bits
  kBlocks,        // packed blocks of bfloat16
  kUnpackedRows,  // a few rows of bfloat16 by a weight that is not packed
  kDequantised,   // libtorch's product with parts of a matrix in four bits
  kLibtorch,      // libtorch's product
};

Way choose_way(const ProductKernels* kernels, const at::Tensor& a, const RightOperand& right,
               const ProductTerms& terms) {
  const bool in_four_bits = right.matrix.is_nf4();
  if (in_four_bits && right.transposed && takes_nf4_rows(a, right.matrix.nf4())) return Way::kCodes;
  if (kernels != nullptr && takes_blocks(a, right, terms)) return Way::kBlocks;
  if (in_four_bits) return Way::kDequantised;
  const bool few_rows = kernels != nullptr && right.transposed && a.size(0) <= kMostUnpackedRows &&
                        is_bfloat16_matrix(a) && is_bfloat16_matrix(right.matrix.dense());
  return few_rows ? Way::kUnpackedRows : Way::kLibtorch;
}

// Adds the terms to a product that has been rounded.
void add_terms(const ProductTerms& terms, at::Tensor& y) {
  if (terms.bias.defined()) y.add_(terms.bias);
  if (!terms.low_rank.defined()) return;
  const at::Tensor& low_right = terms.low_rank_right.matrix.dense();
  y.addmm_(terms.low_rank, terms.low_rank_right.transposed ? low_right.t() : low_right);
}

// Computes the product by libtorch, which for many rows adds a bias before it rounds.
at::Tensor libtorch_product(const at::Tensor& a, const RightOperand& right, ProductTerms terms,
                            bool few_rows) {
  const at::Tensor& b = right.matrix.dense();
  at::Tensor y;
  if (terms.bias.defined() && right.transposed && !few_rows) {
    y = at::linear(a, b, terms.bias);
    terms.bias = at::Tensor();
  } else {
    y = right.transposed ? at::linear(a, b) : at::mm(a, b);
  }
  add_terms(terms, y);
  return y;
}

}  // namespace

at::Tensor matrix_product(const at::Tensor& a, const RightOperand& right, const ProductTerms& terms) {
  const ProductKernels* const kernels = product_kernels();
  at::Tensor y;
  switch (choose_way(kernels, a, right, terms)) {
    case Way::kCodes:
      return product_with_codes(a, right.matrix.nf4(), terms);
    case Way::kBlocks:
      return product_of_blocks(*kernels, a, right, terms);
    case Way::kLibtorch:
      return libtorch_product(a, right, terms, kernels != nullptr && a.size(0) <= kMostUnpackedRows);
    case Way::kUnpackedRows:
      y = product_of_few_rows(*kernels, a, right.matrix.dense());
      break;
    case Way::kDequantised:
      y = product_with_quantized(a, right);
      break;
  }
  add_terms(terms, y);
  return y;
}

void add_transposed_product(const at::Tensor& a, const at::Tensor& b, at::Tensor& sum) {
  const ProductKernels* const kernels = product_kernels();
  const int64_t depth = a.size(0), rows = a.size(1), columns = b.size(1);
  if (kernels == nullptr || !is_bfloat16_matrix(a) || !is_bfloat16_matrix(b) || rows < kLeastRows ||
      columns < kLeastColumns || depth < 2 || columns % kVector != 0 || sum.stride(1) != 1) {
    sum.add_(at::mm(a.t(), b));
    return;
  }
  // Both operands are packed in pairs along the inner dimension.
  const int64_t padded = rounded_up(depth, 2);
  const int64_t row_panels = num_tasks(rows, kPanel), panels = num_tasks(columns, kPanel);
  const int64_t inner = std::min(padded, kBlockDepth);
  const at::Tensor packed_left = at::empty({row_panels, inner * kPanel}, a.options());
  const at::Tensor packed_right = at::empty({panels, inner * kPanel}, b.options());
  const auto width_at = [](int64_t total, int64_t panel) { return std::min(kPanel, total - panel * kPanel); };
  for (int64_t begin = 0; begin < depth; begin += inner) {
    const int64_t count = std::min(inner, depth - begin);
    const auto pack_all = [&](const at::Tensor& from, const at::Tensor& to, int64_t num_panels) {
      parallel_tasks(num_panels, [&](int64_t first, int64_t last) {
        for (int64_t p = first; p < last; ++p)
          kernels->pack(element_data<Bf16>(from) + begin * from.stride(0) + p * kPanel, from.stride(0), count,
                        width_at(from.size(1), p), element_data<Bf16>(to) + p * inner * kPanel);
      });
    };
    pack_all(a, packed_left, row_panels);
    pack_all(b, packed_right, panels);
    parallel_tasks(row_panels * panels, [&](int64_t first, int64_t last) {
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

}  // namespace longlora::ops::cpu
