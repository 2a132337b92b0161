#include "longlora/generate/step_decoder.h"

#include <ATen/Parallel.h>

#include "longlora/core/error.h"
#include "longlora/model/adapter.h"
#include "longlora/ops/backend.h"
#include "tests/generate/step_sequences.h"
#include "tests/generate/test_models.h"
#include "tests/model/block_forms.h"
#include "tests/model/tiny_models.h"

namespace longlora::generate {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using Ids = std::vector<int64_t>;

Ids some_ids(int64_t count, int64_t limit) {
  Ids ids = walk(count);
  for (int64_t& id : ids) id %= limit;
  return ids;
}

// The decoder of a form, with weights large enough that a wrong sum shows.
model::Decoder decoder_of(const model::FormOfBlock& form, at::ScalarType dtype) {
  model::ModelConfig config = model::small_config(form, /*layers=*/2);
  config.initializer_range = 0.2;
  return model::random_decoder(config, dtype, 5);
}

// Gives each linear layer's pair and bias random numbers.
void fill(model::Decoder& decoder) {
  uint64_t seed = 1;
  model::visit_parameters(decoder, [&](const std::string&, model::ParameterRole role,
                                       model::Parameter& parameter) {
    const bool is_filled = role == model::ParameterRole::kBias || role == model::ParameterRole::kNormBias ||
                           role == model::ParameterRole::kPairB;
    if (is_filled)
      parameter.value =
          0.2 * test::random_tensor(parameter.value.sizes(), seed++, parameter.value.scalar_type());
  });
}

checkpoint::LoraConfig lora_everywhere(const model::Decoder& decoder, bool use_dora) {
  checkpoint::LoraConfig config;
  config.rank = 8;
  config.alpha = 16;
  config.target_modules = model::linear_names(decoder);
  config.use_dora = use_dora;
  return config;
}

TEST(StepDecoder, EqualsForwardForEveryFamilyAndScaling) {
  const auto expect_equal = [](const std::filesystem::path& path) {
    SCOPED_TRACE(path);
    const model::Decoder decoder = model::load_decoder(path, at::kFloat);
    ASSERT_TRUE(StepDecoder::takes(decoder));
    const Ids ids = some_ids(40, 48);
    EXPECT_CLOSE(steps(decoder, ids), plain_steps(decoder, ids), 1e-5);
  };
  for (const char* name : model::kFamilyModels) expect_equal(model::family_model(name));
  for (const char* name : model::kTinyModels) expect_equal(model::tiny_model(name));
}

TEST(StepDecoder, EqualsForwardForEveryFormWithBiases) {
  for (const auto& form : model::kBlockForms) {
    SCOPED_TRACE(form.architecture);
    model::Decoder decoder = decoder_of(form, at::kFloat);
    fill(decoder);
    EXPECT_CLOSE(steps(decoder, walk(20)), plain_steps(decoder, walk(20)), 1e-5);
  }
}

TEST(StepDecoder, EqualsForwardWithinTheRoundingOfBfloat16) {
  for (const auto& form : model::kBlockForms) {
    SCOPED_TRACE(form.architecture);
    // In float32 from the same weights the result has no rounding of its own.
    model::Decoder decoder = decoder_of(form, at::kBFloat16), exact = decoder;
    model::visit_parameters(exact, [](const std::string&, model::Parameter& parameter) {
      parameter.value = parameter.value.dense().to(at::kFloat);
    });
    const at::Tensor expected = plain_steps(exact, walk(20));
    const double rounding = test::relative_difference(plain_steps(decoder, walk(20)), expected);
    EXPECT_LT(test::relative_difference(steps(decoder, walk(20)), expected), 1.5 * rounding);
    EXPECT_LT(rounding, 0.1);
  }
}

TEST(StepDecoder, ReadsWeightsInFourBits) {
  for (const auto& form : model::kBlockForms)
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(form.architecture);
      model::Decoder decoder = decoder_of(form, dtype);
      model::quantize_layers(decoder);
      EXPECT_CLOSE(steps(decoder, walk(20)), plain_steps(decoder, walk(20)),
                   dtype == at::kFloat ? 1e-5 : 6e-2);
    }
}

TEST(StepDecoder, AddsLowRankPairsAndMagnitudes) {
  for (const auto& form : model::kBlockForms)
    for (const bool use_dora : {false, true})
      for (const bool quantized : {false, true}) {
        SCOPED_TRACE(form.architecture);
        model::Decoder decoder = decoder_of(form, at::kFloat);
        if (quantized) model::quantize_layers(decoder);
        model::add_lora(decoder, lora_everywhere(decoder, use_dora), 7);
        fill(decoder);
        const at::Tensor expected = plain_steps(decoder, walk(12));
        EXPECT_CLOSE(steps(decoder, walk(12)), expected, 1e-5);
        model::keep_weight_norms(decoder);
        EXPECT_CLOSE(steps(decoder, walk(12)), expected, 1e-5);
      }
}

TEST(StepDecoder, ReadsManyPages) {
  model::Decoder decoder = small_decoder(6, 3);
  decoder.blocks[1].window_tokens = 300;
  const Ids ids = walk(700);
  EXPECT_CLOSE(steps(decoder, ids), plain_steps(decoder, ids), 1e-5);
}

TEST(StepDecoder, SeesNoMoreThanTheWindowOfALayer) {
  for (const int64_t window : {1, 5, 64, 65, 130}) {
    model::Decoder decoder = small_decoder(4, 1);
    for (model::Block& block : decoder.blocks) block.window_tokens = window;
    EXPECT_CLOSE(steps(decoder, walk(200)), plain_steps(decoder, walk(200)), 1e-5);
  }
}

class Threads {
 public:
  explicit Threads(int count) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }

 private:
  int before_ = at::get_num_threads();
};

TEST(StepDecoder, GivesARowTheSameBitsWhateverTheOtherRowsAndThreads) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
    for (const bool quantized : {false, true}) {
      model::Decoder decoder = small_decoder(4, 2, dtype);
      if (quantized) model::quantize_layers(decoder);
      // Sequences of unequal lengths, with a row each, and each row's logits where it is alone. A row that is
      // computed again writes the same key and value.
      std::vector<StepSequence> sequences;
      std::vector<StepRow> rows;
      std::vector<at::Tensor> alone;
      {
        const Threads one(1);
        StepDecoder step(decoder);
        for (int64_t s = 0; s < StepDecoder::kMostRows; ++s) {
          StepRow& row = rows.emplace_back();
          StepSequence& sequence = sequences.emplace_back(decoder);
          for (const int64_t id : walk(5 + 20 * s)) {
            row = sequence.add((id + s) % 61);
            alone.resize(rows.size());
            alone.back() = step.run(std::vector{row})[0].clone();
          }
        }
      }
      for (const int threads : {1, 2, 3}) {
        const Threads some(threads);
        StepDecoder step(decoder);
        for (const size_t count : {1, 2, 3, 4, 5, 7, 16}) {
          const std::vector<StepRow> last(rows.rbegin(), rows.rbegin() + static_cast<int64_t>(count));
          const at::Tensor logits = step.run(last);
          for (size_t r = 0; r < count; ++r)
            EXPECT_TRUE(at::equal(logits[static_cast<int64_t>(r)], alone[alone.size() - 1 - r]))
                << "row " << r << " of " << count << " with " << threads << " threads";
        }
      }
    }
}

TEST(StepDecoder, TakesSeveralTokensOfASequenceInOneStep) {
  const model::Decoder decoder = small_decoder(4, 2, at::kBFloat16);
  const Ids ids = walk(130);
  const at::Tensor expected = steps(decoder, ids);
  StepDecoder step(decoder);
  StepSequence sequence(decoder);
  for (size_t i = 0; i < ids.size();) {
    const size_t count = std::min<size_t>(1 + i % 16, ids.size() - i);
    std::vector<StepRow> rows;
    for (size_t r = 0; r < count; ++r) rows.push_back(sequence.add(ids[i + r]));
    for (StepRow& row : rows) row.pages = rows.back().pages;
    EXPECT_TRUE(at::equal(step.run(rows), expected.slice(0, i, i + count))) << i;
    i += count;
  }
}

// In one layer keys depend on their token and its place alone, so that a text from which tokens were dropped
// is the same as the text of those that are left.
TEST(StepDecoder, SeesSinksAsIfTheyCameRightBeforeTheRecentTokens) {
  model::Decoder decoder = small_decoder(4, 2);
  decoder.blocks.resize(1);
  const Ids ids = walk(400);
  for (const int64_t sinks : {4, 70})
    for (const int64_t window : {0, 90}) {
      decoder.blocks[0].window_tokens = window;
      StepDecoder step(decoder);
      StepSequence sequence(decoder);
      for (size_t i = 0; i + 1 < ids.size(); ++i) step.run(std::vector{sequence.add(ids[i])});
      const int64_t recent = 333;
      sequence.drop(2, 5);
      StepRow row = sequence.add(ids.back());
      row.sinks = sinks;
      row.first_recent = recent;
      row.sink_place = sinks + row.num_tokens - recent - 1;
      Ids left(ids.begin(), ids.begin() + sinks);
      left.insert(left.end(), ids.begin() + recent, ids.end());
      EXPECT_CLOSE(step.run(std::vector{row})[0], plain_steps(decoder, left)[-1], 1e-5);
    }
}

TEST(StepDecoder, RefusesRowsThatItCannotCompute) {
  const model::Decoder decoder = small_decoder(4, 2);
  StepDecoder step(decoder);
  StepSequence sequence(decoder);
  const auto message = [&](const StepRow& row) { return [&step, row] { step.run(std::vector{row}); }; };
  StepRow row = sequence.add(61);
  EXPECT_THAT(message(row), ThrowsMessage<Error>(HasSubstr("expected an id in [0, 61), got 61")));
  row.id = 3;
  row.num_tokens = 65;
  EXPECT_THAT(message(row), ThrowsMessage<Error>(HasSubstr("expected 1 to 64 tokens")));
  for (int64_t i = 1; i < 65; ++i) row = sequence.add(1);
  sequence.drop(0, 1);
  EXPECT_THAT(message(row), ThrowsMessage<Error>(HasSubstr("expected page 0 of row 0 to be there")));
  row.first_recent = 64;
  EXPECT_NO_THROW(message(row)());
  EXPECT_THAT([&] { step.run({}); }, ThrowsMessage<Error>(HasSubstr("expected 1 to 16 rows, got 0")));
}

TEST(StepDecoder, LeavesOtherDecodersToForward) {
  model::Decoder decoder = small_decoder(4, 2);
  EXPECT_TRUE(StepDecoder::takes(decoder));
  {
    const ops::LibtorchOperatorsOnly without_kernels;
    EXPECT_FALSE(StepDecoder::takes(decoder));
  }
  decoder.blocks[1].down_proj.weight.value = decoder.blocks[1].down_proj.weight.value.dense().to(at::kMeta);
  EXPECT_FALSE(StepDecoder::takes(decoder));
  EXPECT_THROW(StepDecoder{decoder}, Error);
  EXPECT_FALSE(StepDecoder::takes(small_decoder(4, 2, at::kHalf)));
}

}  // namespace
}  // namespace longlora::generate
