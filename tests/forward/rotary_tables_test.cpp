#include "longlora/forward/rotary_tables.h"

#include <gtest/gtest.h>

#include "tests/model/tiny_models.h"
#include "tests/support/tensors.h"

namespace longlora::forward {
namespace {

// The angles of the tokens, whatever the rows of the table they lie in.
at::Tensor cosines(const model::Positions& positions) {
  return positions.table.cos.index_select(0, positions.index);
}

at::Tensor expected_cosines(const model::Decoder& decoder, int64_t first, int64_t count, int64_t sequence) {
  return model::make_rotary_table(decoder.config, {first, count, sequence}).cos;
}

TEST(RotaryTables, HaveTheAnglesOfTheSequenceInEveryForm) {
  for (const char* name : {"mistral", "llama_dynamic", "phi3_longrope", "qwen2_yarn", "neox"}) {
    SCOPED_TRACE(name);
    const auto decoder = model::load_decoder(model::family_model(name), at::kFloat);
    RotaryTables rotary(decoder);
    for (const int64_t tokens : {12, 70, 30}) {  // longer and shorter than before
      const at::Tensor row = expected_cosines(decoder, 0, tokens, tokens);
      EXPECT_TRUE(at::equal(cosines(rotary.rows(2, tokens)), at::cat({row, row})));
      const at::Tensor places = test::random_ids({9}, tokens, 1);
      EXPECT_TRUE(at::equal(cosines(rotary.places(places, tokens)), row.index_select(0, places)));
      EXPECT_TRUE(at::equal(cosines(rotary.range(3, 5, tokens)), expected_cosines(decoder, 3, 5, tokens)));
    }
  }
}

TEST(RotaryTables, AreMadeOnceWhereTheyAreReserved) {
  const auto decoder = model::load_decoder(model::family_model("mistral"), at::kFloat);
  RotaryTables rotary(decoder);
  rotary.reserve(64);
  const at::Tensor made = rotary.rows(1, 10).table.cos;
  EXPECT_EQ(made.size(0), 64);
  EXPECT_TRUE(rotary.range(40, 24, 64).table.cos.is_same(made));
  EXPECT_TRUE(rotary.places(at::arange(64), 64).table.cos.is_same(made));
  EXPECT_EQ(rotary.rows(1, 65).table.cos.size(0), 65);
}

}  // namespace
}  // namespace longlora::forward
