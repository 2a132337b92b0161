#include "longlora/train/optimizer.h"

#include "longlora/core/error.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

/// Five updates on ids from a part of the vocabulary; the last two see rows that the first do not.
void run_steps(model::Decoder& decoder, AdamW& optimizer, bool by_rows) {
  Engine engine(decoder, std::vector<Keep>(decoder.blocks.size(), Keep::kInput), 16);
  if (!by_rows) decoder.embed_tokens.grad_rows.reset();
  for (int64_t step = 0; step < 5; ++step) {
    optimizer.zero_grad();
    const int64_t limit = step < 3 ? 20 : 50;
    engine.forward_backward(make_next_token_batch(test::random_ids({2, 16}, limit, 70 + step), 6),
                            1.0 / 30.0);
    EXPECT_GT(optimizer.grad_norm(), 0.0);
    optimizer.step(1e-2, 0.7);
  }
}

TEST(AdamW, GivesTheSameBitsRowByRow) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
    for (const double decay : {0.0, 0.1}) {
      SCOPED_TRACE(::testing::Message() << c10::toString(dtype) << ", decay " << decay);
      model::Decoder whole = lora_plus_model("gqa_untied", dtype),
                     rows = lora_plus_model("gqa_untied", dtype);
      const at::Tensor start = rows.embed_tokens.master.clone();
      AdamW whole_optimizer(whole, {.weight_decay = decay}), rows_optimizer(rows, {.weight_decay = decay});
      run_steps(whole, whole_optimizer, /*by_rows=*/false);
      run_steps(rows, rows_optimizer, /*by_rows=*/true);
      ASSERT_TRUE(rows.embed_tokens.grad_rows);
      EXPECT_NEAR(rows_optimizer.grad_norm(), whole_optimizer.grad_norm(),
                  1e-12 * whole_optimizer.grad_norm());
      for (size_t i = 0; i < rows_optimizer.slots().size(); ++i) {
        AdamW::Slot &a = rows_optimizer.slots()[i], &b = whole_optimizer.slots()[i];
        SCOPED_TRACE(a.name);
        EXPECT_TRUE(at::equal(a.exp_avg, b.exp_avg));
        EXPECT_TRUE(at::equal(a.exp_avg_sq, b.exp_avg_sq));
        EXPECT_TRUE(at::equal(a.parameter->master, b.parameter->master));
        EXPECT_TRUE(at::equal(a.parameter->value.dense(), b.parameter->value.dense()));
      }
      // Rows from 50 on were never seen.
      EXPECT_EQ(at::equal(rows.embed_tokens.master.slice(0, 50), start.slice(0, 50)), decay == 0.0);
      EXPECT_FALSE(at::equal(rows.embed_tokens.master, start));
    }
}

TEST(AdamW, FindsTheRowsInUseAfterARunIsRestored) {
  model::Decoder through = lora_plus_model("gqa_untied"), resumed = lora_plus_model("gqa_untied");
  AdamW first(through, {});
  run_steps(through, first, /*by_rows=*/true);
  AdamW second(resumed, {});
  Engine engine(resumed, std::vector<Keep>(resumed.blocks.size(), Keep::kInput), 16);
  // A step of its own first, which must not hide what is restored over it.
  engine.forward_backward(make_next_token_batch(test::random_ids({1, 8}, 5, 90), 0), 1.0);
  second.step(1e-2, 1.0);
  second.zero_grad();
  for (size_t i = 0; i < second.slots().size(); ++i) {
    second.slots()[i].exp_avg.copy_(first.slots()[i].exp_avg);
    second.slots()[i].exp_avg_sq.copy_(first.slots()[i].exp_avg_sq);
    second.slots()[i].parameter->master.detach().copy_(first.slots()[i].parameter->master.detach());
  }
  second.set_num_steps(first.num_steps());
  // Without a gradient the moments alone move the weights.
  first.zero_grad();
  first.step(1e-2, 1.0);
  second.step(1e-2, 1.0);
  for (size_t i = 0; i < second.slots().size(); ++i)
    EXPECT_TRUE(at::equal(second.slots()[i].parameter->master, first.slots()[i].parameter->master))
        << second.slots()[i].name;
}

TEST(EmbeddingRows, AreNotedOnlyWhereNothingElseAddsToTheGradient) {
  model::Decoder tied = full_model("mha_tied"), untied = full_model("gqa_untied");
  const auto keep = [](const model::Decoder& decoder) {
    return std::vector<Keep>(decoder.blocks.size(), Keep::kInput);
  };
  Engine(tied, keep(tied), 8);
  EXPECT_FALSE(tied.embed_tokens.grad_rows);
  Engine engine(untied, keep(untied), 8);
  ASSERT_TRUE(untied.embed_tokens.grad_rows);
  engine.forward_backward(make_next_token_batch(at::tensor({7, 3, 7, 11}, at::kLong).view({1, 4}), 0), 1.0);
  EXPECT_THAT(untied.embed_tokens.grad_rows->rows(), ::testing::ElementsAre(7, 3, 11));
}

TEST(EmbeddingRows, AreNotMadeBeforeTheirNumberIsKnown) {
  for (const char* name : {"mha_tied", "gqa_untied"}) {
    model::Decoder decoder = model::load_decoder(tiny_model(name), at::kBFloat16);
    model::train_everything(decoder);
    EXPECT_TRUE(decoder.embed_tokens.trainable());
    // A tied embedding is the head, too, all of whose rows get gradients.
    EXPECT_EQ(decoder.embed_tokens.grad.defined(), !decoder.lm_head.value.defined()) << name;
    EngineOptions options;
    options.window_tokens = 20;
    Engine(decoder, std::vector<Keep>(decoder.blocks.size(), Keep::kInput), 10, options);
    EXPECT_EQ(decoder.embed_tokens.grad.size(0), decoder.lm_head.value.defined() ? 20 : 96) << name;
  }
}

TEST(EmbeddingRows, TakeRoomForAWindowAlone) {
  model::Decoder whole = full_model("gqa_untied"), narrow = full_model("gqa_untied");
  const std::vector<Keep> keep(whole.blocks.size(), Keep::kInput);
  EngineOptions options;
  options.window_tokens = 20;
  Engine expected(whole, keep, 10), engine(narrow, keep, 10, options);
  EXPECT_EQ(whole.embed_tokens.grad.size(0), 96);
  EXPECT_EQ(narrow.embed_tokens.grad.size(0), 20);
  AdamW optimizer(narrow, {});
  for (const uint64_t seed : {1, 2, 3}) {
    const Batch batch = make_next_token_batch(test::random_ids({1, 10}, 96, seed), 0);
    expected.forward_backward(batch, 1.0);
    engine.forward_backward(batch, 1.0);
    EXPECT_TRUE(at::equal(gradient_of(narrow.embed_tokens), gradient_of(whole.embed_tokens)));
    if (seed != 2) continue;
    optimizer.zero_grad();
    AdamW(whole, {}).zero_grad();
  }
  // More tokens than the window has.
  const auto overflow = [&] {
    for (const int64_t start : {0, 10, 20, 30})
      engine.forward_backward(make_next_token_batch(at::arange(start, start + 10).view({1, 10}), 0), 1.0);
  };
  EXPECT_THAT(test::message_of<Error>(overflow), ::testing::HasSubstr("at most 20 rows"));
}

}  // namespace
}  // namespace longlora::train
