// Scoring and generation on libtorch's operators against the CPU kernels.
#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/eval/score.h"
#include "longlora/generate/generate.h"
#include "longlora/model/load.h"
#include "tests/model/tiny_models.h"
#include "tests/support/data_path.h"
#include "tests/support/device.h"

namespace longlora::eval {
namespace {

using Ids = std::vector<int64_t>;

class DeviceEval : public test::DeviceTest {
 protected:
  static Ids some_ids(int64_t count, int64_t vocab_size) {
    Ids ids;
    for (int64_t i = 0; i < count; ++i) ids.push_back((7 * i * i + 3 * i + 1) % vocab_size);
    return ids;
  }
};

TEST_F(DeviceEval, ScoresEveryTokenAsTheKernelsDo) {
  for (const char* name : {"mistral", "qwen3", "neox", "phi3_longrope", "llama_dynamic"}) {
    SCOPED_TRACE(name);
    const auto here = model::load_decoder(model::family_model(name), at::kFloat),
               there = model::load_decoder(model::family_model(name), at::kFloat, {.device = device()});
    const Ids ids = some_ids(40, 40);
    const auto expected = token_logprobs(here, ids, 64);
    const auto actual = compute([&] { return token_logprobs(there, ids, 64); });
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(actual[i], expected[i], 1e-3) << "token " << i + 1;
  }
}

TEST_F(DeviceEval, GeneratesWhatTheKernelsGenerate) {
  const auto here = model::load_decoder(test::data_path("stories260K_hf"), at::kFloat),
             there = model::load_decoder(test::data_path("stories260K_hf"), at::kFloat, {.device = device()});
  const Ids prompt = some_ids(300, 512);
  const auto generated = [&](const model::Decoder& decoder) {
    generate::DecodeSession session(decoder, 512, /*prefill_chunk_tokens=*/128);
    return generate::generate(session, prompt, {.max_new_tokens = 60}, generate::pick_greedy, nullptr).ids;
  };
  EXPECT_EQ(compute([&] { return generated(there); }), generated(here));
}

TEST_F(DeviceEval, LogitsAfterAChunkedPromptStayCloseInBfloat16) {
  const auto here = model::load_decoder(test::data_path("stories260K_hf"), at::kBFloat16),
             there =
                 model::load_decoder(test::data_path("stories260K_hf"), at::kBFloat16, {.device = device()});
  const auto logits = [&](const model::Decoder& decoder) {
    generate::DecodeSession session(decoder, 512, /*prefill_chunk_tokens=*/100);
    return session.feed(some_ids(290, 512)).cpu();
  };
  const at::Tensor expected = logits(here), actual = compute([&] { return logits(there); });
  EXPECT_LT((actual - expected).abs().max().item<double>(), 0.06 * expected.abs().max().item<double>());
}

}  // namespace
}  // namespace longlora::eval
