#include "longlora/train/optimizer.h"

#include <cmath>

#include "longlora/core/error.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

// Five updates on ids from a part of the vocabulary; the last two see rows that the first do not.
void run_steps(TrainedModel& decoder, AdamW& optimizer, bool by_rows) {
  Engine engine(decoder, std::vector<Keep>(decoder.blocks.size(), Keep::kInput), 16);
  if (!by_rows) decoder.of(decoder.embed_tokens).grad_rows.reset();
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
      TrainedModel whole = lora_plus_model("gqa_untied", dtype), rows = lora_plus_model("gqa_untied", dtype);
      const at::Tensor start = rows.of(rows.embed_tokens).master.clone();
      AdamW whole_optimizer(whole, {.weight_decay = decay}), rows_optimizer(rows, {.weight_decay = decay});
      run_steps(whole, whole_optimizer, /*by_rows=*/false);
      run_steps(rows, rows_optimizer, /*by_rows=*/true);
      ASSERT_TRUE(rows.of(rows.embed_tokens).grad_rows);
      EXPECT_NEAR(rows_optimizer.grad_norm(), whole_optimizer.grad_norm(),
                  1e-12 * whole_optimizer.grad_norm());
      for (size_t i = 0; i < rows_optimizer.slots().size(); ++i) {
        AdamW::Slot &a = rows_optimizer.slots()[i], &b = whole_optimizer.slots()[i];
        SCOPED_TRACE(a.trained->name);
        EXPECT_TRUE(at::equal(a.exp_avg, b.exp_avg));
        EXPECT_TRUE(at::equal(a.exp_avg_sq, b.exp_avg_sq));
        EXPECT_TRUE(at::equal(a.trained->master, b.trained->master));
        EXPECT_TRUE(at::equal(a.trained->parameter->value.dense(), b.trained->parameter->value.dense()));
      }
      // Rows from 50 on were never seen.
      EXPECT_EQ(at::equal(rows.of(rows.embed_tokens).master.slice(0, 50), start.slice(0, 50)), decay == 0.0);
      EXPECT_FALSE(at::equal(rows.of(rows.embed_tokens).master, start));
    }
}

TEST(AdamW, FindsTheRowsInUseAfterARunIsRestored) {
  TrainedModel through = lora_plus_model("gqa_untied"), resumed = lora_plus_model("gqa_untied");
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
    second.slots()[i].trained->master.detach().copy_(first.slots()[i].trained->master.detach());
  }
  second.set_num_steps(first.num_steps());
  // Without a gradient the moments alone move the weights.
  first.zero_grad();
  first.step(1e-2, 1.0);
  second.step(1e-2, 1.0);
  for (size_t i = 0; i < second.slots().size(); ++i)
    EXPECT_TRUE(at::equal(second.slots()[i].trained->master, first.slots()[i].trained->master))
        << second.slots()[i].trained->name;
}

TEST(AdamW, DecaysMatricesAndLeavesVectorsAsTheyAre) {
  TrainedModel decoder = model::load_decoder(test::data_path("goldens/families/neox"), at::kFloat);
  model::train_everything(decoder);
  AdamW optimizer(decoder, {.weight_decay = 0.1});
  std::vector<at::Tensor> starts;
  for (const AdamW::Slot& slot : optimizer.slots()) starts.push_back(slot.trained->master.detach().clone());
  optimizer.step(0.5, 1.0);  // without a gradient
  for (size_t i = 0; i < starts.size(); ++i) {
    SCOPED_TRACE(optimizer.slots()[i].trained->name);
    const at::Tensor found = optimizer.slots()[i].trained->master.detach();
    if (starts[i].dim() == 1)
      EXPECT_TRUE(at::equal(found, starts[i]));
    else
      EXPECT_CLOSE(found, starts[i] * 0.95, 1e-6);
  }
}

TEST(AdamW, LearnsTheSecondHalfOfPairsAtARateOfItsOwn) {
  TrainedModel same = lora_plus_model("gqa_untied"), faster = lora_plus_model("gqa_untied");
  AdamW plain(same, {}), plus(faster, {.loraplus_lr_ratio = 4.0});
  for (AdamW* optimizer : {&plain, &plus})
    for (const AdamW::Slot& slot : optimizer->slots()) {
      slot.trained->master.detach().zero_();
      slot.trained->grad.fill_(1.0);
      if (slot.trained->grad_rows) slot.trained->grad_rows->add(at::arange(slot.trained->grad.size(0)));
    }
  plain.step(1e-3, 1.0);
  plus.step(1e-3, 1.0);
  for (size_t i = 0; i < plain.slots().size(); ++i) {
    const TrainedParameter &one = *plain.slots()[i].trained, &other = *plus.slots()[i].trained;
    const double ratio = one.name.ends_with(".lora_B.weight") ? 4.0 : 1.0;
    EXPECT_CLOSE(other.master.detach(), one.master.detach() * ratio, 1e-6) << one.name;
    EXPECT_LT(one.master.detach().max().item<double>(), 0.0) << one.name;
  }
}

TEST(AdamW, MeasuresTheNormOfAllGradients) {
  TrainedModel decoder = full_model("gqa_untied");
  AdamW optimizer(decoder, {});
  double expected = 0.0;
  uint64_t seed = 1;
  for (AdamW::Slot& slot : optimizer.slots()) {
    at::Tensor& grad = slot.trained->grad;
    grad.copy_(test::random_tensor(grad.sizes(), seed++));
    slot.trained->grad_rows.reset();  // all of them count
    expected += grad.to(at::kDouble).square().sum().item<double>();
  }
  EXPECT_NEAR(optimizer.grad_norm(), std::sqrt(expected), 1e-6 * std::sqrt(expected));
  optimizer.zero_grad();
  EXPECT_EQ(optimizer.grad_norm(), 0.0);
}

TEST(AdamW, MeasuresLargeGradientsExactly) {
  TrainedModel decoder = full_model("gqa_untied");
  decoder.of(decoder.embed_tokens).grad = at::full({3000, 4000}, 0.1f);  // twelve million equal terms
  decoder.of(decoder.embed_tokens).grad_rows.reset();
  AdamW optimizer(decoder, {});
  EXPECT_NEAR(optimizer.grad_norm(), std::sqrt(12e6) * 0.1f, 1e-6 * std::sqrt(12e6));
}

TEST(EmbeddingRows, AreNotedOnlyWhereNothingElseAddsToTheGradient) {
  TrainedModel tied = full_model("mha_tied"), untied = full_model("gqa_untied");
  const auto keep = [](const model::Decoder& decoder) {
    return std::vector<Keep>(decoder.blocks.size(), Keep::kInput);
  };
  EXPECT_FALSE(tied.of(tied.embed_tokens).grad_rows);
  Engine engine(untied, keep(untied), 8);
  ASSERT_TRUE(untied.of(untied.embed_tokens).grad_rows);
  engine.forward_backward(make_next_token_batch(at::tensor({7, 3, 7, 11}, at::kLong).view({1, 4}), 0), 1.0);
  EXPECT_THAT(untied.of(untied.embed_tokens).grad_rows->rows(), ::testing::ElementsAre(7, 3, 11));
}

TEST(EmbeddingRows, TakeNoMoreRoomThanTheirWindowNeeds) {
  for (const char* name : {"mha_tied", "gqa_untied"}) {
    TrainedModel decoder(full_model(name, at::kBFloat16), {.update_tokens = 20});
    // A tied embedding is the head, too, all of whose rows get gradients.
    EXPECT_EQ(decoder.of(decoder.embed_tokens).grad.size(0), decoder.lm_head.value.defined() ? 20 : 96)
        << name;
  }
}

TEST(EmbeddingRows, TakeRoomForAWindowAlone) {
  TrainedModel whole = full_model("gqa_untied"), narrow(full_model("gqa_untied"), {.update_tokens = 20});
  const std::vector<Keep> keep(whole.blocks.size(), Keep::kInput);
  Engine expected(whole, keep, 10), engine(narrow, keep, 10);
  const TrainedParameter &all_rows = whole.of(whole.embed_tokens), &few_rows = narrow.of(narrow.embed_tokens);
  EXPECT_EQ(all_rows.grad.size(0), 96);
  EXPECT_EQ(few_rows.grad.size(0), 20);
  for (const uint64_t seed : {1, 2, 3}) {
    const Batch batch = make_next_token_batch(test::random_ids({1, 10}, 96, seed), 0);
    expected.forward_backward(batch, 1.0);
    engine.forward_backward(batch, 1.0);
    EXPECT_TRUE(at::equal(gradient_of(few_rows), gradient_of(all_rows)));
    if (seed != 2) continue;
    zero_gradients(narrow);
    zero_gradients(whole);
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
