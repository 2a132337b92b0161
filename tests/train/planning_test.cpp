// Options, schedules and the memory plan: what is decided before the first step.
#include "longlora/core/error.h"
#include "longlora/forward/mapped_files.h"
#include "longlora/train/memory_plan.h"
#include "longlora/train/options.h"
#include "longlora/train/schedule.h"
#include "longlora/train/step_cost.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

using test::message_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Schedule, EqualsTransformers) {
  const Json golden = read_json(test::data_path("goldens/schedules.json"));
  ASSERT_EQ(golden["cases"].size(), 34u);
  for (const Json& found : golden["cases"]) {
    SCOPED_TRACE(found["name"].dump() + " " + found["warmup_steps"].dump());
    const Schedule schedule = {schedule_from_name(found["name"]), golden["peak_learning_rate"],
                               found["warmup_steps"], golden["max_steps"]};
    for (int64_t step = 0; step < schedule.max_steps; ++step)
      EXPECT_NEAR(schedule.learning_rate(step), found["learning_rates"][step].get<double>(), 1e-18) << step;
  }
}

TEST(Schedule, RefusesAnUnknownName) {
  EXPECT_THAT(message_of<UsageError>([] { schedule_from_name("greedy"); }),
              AllOf(HasSubstr("one of constant_with_warmup, constant, linear"), HasSubstr("got greedy")));
}

TEST(Schedule, WarmUpIsAShareOfAllUpdatesWhereItIsGivenSo) {
  TrainOptions options;
  options.warmup_steps = 7;
  EXPECT_EQ(options.warmup_updates(1000), 7);
  options.warmup_ratio = 0.03;
  EXPECT_EQ(options.warmup_updates(1000), 30);
  EXPECT_EQ(options.warmup_updates(10), 1);  // rounded up, as transformers does
}

TrainOptions good_options() {
  return small_run("out");
}

// The problems after one change.
template <typename Change>
std::vector<std::string> problems_after(const Change& change) {
  TrainOptions options = good_options();
  change(options);
  return options.problems();
}

TEST(TrainOptions, HaveNoProblemsWhenTheyAreFine) {
  EXPECT_THAT(good_options().problems(), IsEmpty());
  EXPECT_NO_THROW(validate(good_options()));
}

struct Wrong {
  std::function<void(TrainOptions&)> change;
  const char* says;
};

const double kInfinity = std::numeric_limits<double>::infinity(), kNan = std::nan("");
const Wrong kWrongs[] = {
    {[](auto& o) { o.model_name_or_path.clear(); }, "--model_name_or_path is needed"},
    {[](auto& o) {
       o.init_random = true;
       o.low_rank_training = false;
       o.config_file = "c";
     },
     "give either it or"},
    {[](auto& o) {
       o.init_random = true;
       o.low_rank_training = false;
       o.model_name_or_path.clear();
     },
     "needs --config"},
    {[](auto& o) { o.config_file = "config.json"; }, "--config is for --init random alone"},
    {[](auto& o) { o.attention_init = model::AttentionInit::kMimetic; },
     "--attention_init is for --init random alone"},
    {[](auto& o) {
       o.init_random = true;
       o.config_file = "c";
       o.model_name_or_path.clear();
     },
     "--low_rank_training False"},
    {[](auto& o) { o.data_path.clear(); }, "--data_path is needed"},
    {[](auto& o) { o.output_dir.clear(); }, "--output_dir is needed"},
    {[](auto& o) { o.model_max_length = 1; }, "--model_max_length must be at least 2, got 1"},
    {[](auto& o) { o.group_size_ratio = 1.5; }, "--group_size_ratio must be in (0, 1], got 1.5"},
    {[](auto& o) { o.group_size = 1; }, "--group_size must be at least 2, got 1"},
    {[](auto& o) {
       o.peft_model = "a";
       o.low_rank_training = false;
     },
     "--peft_model goes on from an adapter"},
    {[](auto& o) { o.lora.rank = 0; }, "--lora_r must be positive, got 0"},
    {[](auto& o) { o.lora.alpha = 0; }, "--lora_alpha must be positive"},
    {[](auto& o) { o.lora.alpha = kInfinity; }, "--lora_alpha must be positive"},
    {[](auto& o) { o.max_steps = -1; }, "--max_steps must be positive, or -1 for --num_train_epochs, got -1"},
    {[](auto& o) {
       o.max_steps = 0;
       o.num_train_epochs = 0;
     },
     "--num_train_epochs must be positive"},
    {[](auto& o) {
       o.max_steps = 0;
       o.num_train_epochs = kInfinity;
     },
     "--num_train_epochs must be positive"},
    {[](auto& o) { o.per_device_train_batch_size = 0; }, "--per_device_train_batch_size"},
    {[](auto& o) { o.per_device_eval_batch_size = -1; }, "--per_device_eval_batch_size"},
    {[](auto& o) { o.gradient_accumulation_steps = 0; }, "--gradient_accumulation_steps"},
    {[](auto& o) { o.learning_rate = -1e-5; },
     "--learning_rate must be a number and not negative, got -1e-05"},
    {[](auto& o) { o.learning_rate = kNan; }, "--learning_rate"},
    {[](auto& o) { o.learning_rate = kInfinity; }, "--learning_rate"},
    {[](auto& o) { o.warmup_steps = -2; }, "--warmup_steps must not be negative, got -2"},
    {[](auto& o) { o.max_grad_norm = -1; }, "--max_grad_norm must not be negative"},
    {[](auto& o) { o.adamw.beta2 = 1.0; }, "--adam_beta1 and --adam_beta2 must be in [0, 1)"},
    {[](auto& o) { o.adamw.epsilon = 0.0; }, "--adam_epsilon must be positive"},
    {[](auto& o) { o.adamw.weight_decay = -0.1; }, "--weight_decay not negative"},
    {[](auto& o) { o.save_steps = -1; }, "--save_steps"},
    {[](auto& o) { o.logging_steps = 0; }, "--logging_steps positive"},
    {[](auto& o) { o.eval_steps = 5; }, "--eval_steps needs --eval_data_path"},
    {[](auto& o) { o.full_attention_steps = -1; }, "--full_attention_steps must not be negative"},
};

TEST(TrainOptions, NameEveryFlagThatIsWrong) {
  for (const Wrong& wrong : kWrongs)
    EXPECT_THAT(problems_after(wrong.change), ElementsAre(HasSubstr(wrong.says))) << wrong.says;
}

TEST(TrainOptions, ReportAllProblemsAtOnce) {
  TrainOptions options = good_options();
  options.learning_rate = -1.0;
  options.lora.rank = -8;
  options.data_path.clear();
  EXPECT_THAT(message_of<UsageError>([&] { validate(options); }),
              AllOf(HasSubstr("--learning_rate"), HasSubstr("--lora_r"), HasSubstr("--data_path")));
}

TEST(TrainOptions, TakeTheGroupFromTheRatioOrTheSize) {
  TrainOptions options = good_options();
  options.model_max_length = 4097;
  options.group_size = 0;
  EXPECT_EQ(options.group_tokens(), 1025);
  options.group_size = 512;
  EXPECT_EQ(options.group_tokens(), 512);
  options.attention = AttentionKind::kFull;
  EXPECT_EQ(options.group_tokens(), 0);
}

TEST(TrainOptions, TellThePlanTheLongestSegmentOfAnyDocument) {
  TrainOptions options = good_options();
  options.model_max_length = 16384;
  options.group_size = 2048;
  EXPECT_EQ(options.plan_request().longest_segment_tokens, 2048);
  // Groups of 4096 for a whole row, of 8192 for a document a little shorter.
  options.reference_sft_groups = true;
  EXPECT_EQ(options.plan_request().longest_segment_tokens, 8192);
  // Groups of 8192 for the row, of 9216 for a document of 36864 tokens in it.
  options.model_max_length = 36865;
  EXPECT_EQ(options.plan_request().longest_segment_tokens, 9216);
  options.model_max_length = 6000;
  EXPECT_EQ(options.plan_request().longest_segment_tokens, 6000);
  options.full_attention_steps = 1;
  options.model_max_length = 16384;
  EXPECT_EQ(options.plan_request().longest_segment_tokens, 16384);
}

TEST(TrainOptions, KeepTheirIdentityWhenOnlyTheOutputChanges) {
  TrainOptions options = good_options();
  const Json identity = options.identity();
  options.save_steps = 3;
  options.save_total_limit = 1;
  options.logging_steps = 10;
  options.resume = true;
  EXPECT_EQ(options.identity(), identity);
  options.seed = 43;
  EXPECT_NE(options.identity(), identity);
  EXPECT_EQ(options.to_json()["save_steps"], 3);
}

// A plan for one row of full attention, or groups of 512.
MemoryPlan plan_with(const model::Decoder& decoder, int64_t tokens, Recompute recompute, int64_t budget,
                     double seen_tokens = 0.0) {
  PlanRequest request;
  request.batch_tokens = tokens;
  request.longest_segment_tokens = 512;
  request.seen_tokens = seen_tokens;
  request.recompute = recompute;
  request.budget_bytes = budget;
  return make_memory_plan(decoder, request);
}

TEST(MemoryPlan, GrowsWithTokens) {
  const model::Decoder decoder = lora_plus_model("gqa_untied");
  int64_t last = 0;
  for (const int64_t tokens : {16, 64, 1024, 100000}) {
    const MemoryPlan plan = plan_with(decoder, tokens, Recompute::kAlways, int64_t{1} << 40);
    EXPECT_GT(plan.total_bytes(), last);
    last = plan.total_bytes();
  }
}

TEST(MemoryPlan, CountsTheNoiseOfTheEmbeddings) {
  const model::Decoder decoder = lora_plus_model("gqa_untied");
  PlanRequest request;
  request.batch_tokens = 1024;
  request.recompute = Recompute::kAlways;
  request.budget_bytes = int64_t{1} << 40;
  const int64_t without = make_memory_plan(decoder, request).total_bytes();
  request.embedding_noise = true;
  EXPECT_EQ(make_memory_plan(decoder, request).total_bytes() - without,
            1024 * decoder.config.hidden_size * decoder.embed_tokens.value.dense().element_size());
}

TEST(MemoryPlan, OfAGpuUsesNeitherDiskNorFilesAndCountsItsOperators) {
  TrainOptions options = small_run("unused");
  options.model_max_length = 1024;
  const model::Decoder decoder = lora_plus_model("gqa_untied", at::kBFloat16);
  options.device = at::Device(at::kCUDA, 0);
  PlanRequest request = options.plan_request();
  EXPECT_TRUE(request.on_gpu);
  EXPECT_FALSE(request.disk);
  request.budget_bytes = int64_t{1} << 40;
  request.program_bytes = 0;
  const MemoryPlan on_gpu = make_memory_plan(decoder, request);
  EXPECT_EQ(on_gpu.inputs_on_disk, 0);
  EXPECT_FALSE(on_gpu.weights_streamed);
  // Attention's backward holds more than the kernel on the CPU does, and for longer rows all the more.
  request.batch_tokens = request.row_tokens = 8192;
  const MemoryPlan longer = make_memory_plan(decoder, request);
  EXPECT_GT(longer.program_bytes, on_gpu.program_bytes);
  EXPECT_GE(longer.program_bytes, 8192 * decoder.config.num_attention_heads * decoder.config.head_dim * 12);
}

TEST(MemoryPlan, KeepsMoreLayersTheLargerTheBudget) {
  const model::Decoder decoder = lora_plus_model("gqa_untied");
  const int64_t tokens = 100000;
  const int64_t least = plan_with(decoder, tokens, Recompute::kAlways, int64_t{1} << 40).total_bytes();
  const int64_t most = plan_with(decoder, tokens, Recompute::kNever, int64_t{1} << 40).total_bytes();
  ASSERT_GT(most, least);
  int64_t last_kept = 0;
  for (int64_t budget = least; budget <= most; budget += (most - least) / 12) {
    const MemoryPlan plan = plan_with(decoder, tokens, Recompute::kAuto, budget);
    EXPECT_LE(plan.total_bytes(), budget);
    const int64_t kept = std::count(plan.keep.begin(), plan.keep.end(), Keep::kEverything);
    EXPECT_GE(kept, last_kept);
    last_kept = kept;
    // From the last layer down.
    EXPECT_TRUE(std::is_sorted(plan.keep.begin(), plan.keep.end(),
                               [](Keep a, Keep b) { return a == Keep::kInput && b == Keep::kEverything; }));
  }
  const MemoryPlan whole = plan_with(decoder, tokens, Recompute::kAuto, most);
  EXPECT_EQ(std::count(whole.keep.begin(), whole.keep.end(), Keep::kEverything), 3);
  EXPECT_THAT(whole.describe(),
              AllOf(HasSubstr("of 3 layers 3 keep everything"), HasSubstr("0 their input alone")));
}

TEST(MemoryPlan, KeepsAttentionFirstWhereItIsLong) {
  const model::Decoder decoder = lora_plus_model("gqa_untied");
  const int64_t tokens = 100000;
  const int64_t least = plan_with(decoder, tokens, Recompute::kAlways, int64_t{1} << 40, 1e4).total_bytes();
  const int64_t most = plan_with(decoder, tokens, Recompute::kNever, int64_t{1} << 40, 1e4).total_bytes();
  for (int64_t budget = least; budget <= most; budget += (most - least) / 24) {
    const MemoryPlan plan = plan_with(decoder, tokens, Recompute::kAuto, budget, 1e4);
    EXPECT_LE(plan.total_bytes(), budget);
    EXPECT_TRUE(std::is_sorted(plan.keep.begin(), plan.keep.end()));
    // No layer keeps everything while another computes attention again.
    if (plan.keep.back() == Keep::kEverything) {
      EXPECT_NE(plan.keep.front(), Keep::kInput);
    }
  }
  PlanRequest request;
  request.batch_tokens = tokens;
  request.longest_segment_tokens = 512;
  const std::vector<Keep> attention(3, Keep::kAttention);
  const int64_t for_attention = predict_memory(decoder, request, attention, 4096).total_bytes();
  EXPECT_THAT(plan_with(decoder, tokens, Recompute::kAuto, for_attention, 1e4).keep,
              ElementsAre(Keep::kAttention, Keep::kAttention, Keep::kAttention));
  // Short attention costs less to compute again than the rest does.
  EXPECT_EQ(plan_with(decoder, tokens, Recompute::kAuto, least + (most - least) * 11 / 20, 1.0).keep.back(),
            Keep::kEverything);
}

TEST(MemoryPlan, CountsHowManyKeysAQuerySees) {
  EXPECT_DOUBLE_EQ(mean_seen_tokens(ops::make_segment_plan({.num_rows = 3, .row_tokens = 9})), 5.0);
  // Halves [0 4 8] and [0 2 6 8].
  EXPECT_DOUBLE_EQ(
      mean_seen_tokens(ops::make_segment_plan({.num_rows = 1, .row_tokens = 8, .group_tokens = 4})),
      (20.0 + 3.0 + 10.0 + 3.0) / 16.0);
}

TEST(StepFlops, CountWhatHasToBeComputed) {
  const model::Decoder frozen_below = lora_plus_model("gqa_untied"), whole = full_model("gqa_untied");
  const auto layers = whole.blocks.size();
  const std::vector<Keep> all(layers, Keep::kEverything), none(layers, Keep::kInput),
      attention(layers, Keep::kAttention);
  const double tokens = 100.0, seen = 25.0;
  double matrices = 0.0;
  model::visit_linears(whole, [&](const std::string&, const model::Linear& linear) {
    matrices += static_cast<double>(linear.weight.value.numel());
  });
  const auto head = static_cast<double>(whole.lm_head.value.numel());
  const auto query = static_cast<double>(whole.config.num_attention_heads * whole.config.head_dim);
  const StepFlops full = count_step_flops(whole, 100, seen, all);
  EXPECT_DOUBLE_EQ(full.matrix, 6.0 * (matrices + head) * tokens);
  EXPECT_DOUBLE_EQ(full.attention, 3.5 * 4.0 * query * seen * tokens * static_cast<double>(layers));
  EXPECT_DOUBLE_EQ(full.model(), full.matrix + full.attention * 6.0 / 7.0);
  EXPECT_EQ(full.executed(), full.matrix + full.attention);
  // Frozen matrices get no gradient; all layers lie above the embedding, which trains.
  const StepFlops adapter = count_step_flops(frozen_below, 100, seen, none);
  EXPECT_LT(adapter.matrix, full.matrix);
  EXPECT_GT(adapter.matrix, 4.0 * (matrices + head) * tokens);
  EXPECT_GT(adapter.recomputed_matrix, 2.0 * matrices * tokens);
  EXPECT_DOUBLE_EQ(adapter.recomputed_attention, full.attention / 3.5);
  EXPECT_EQ(count_step_flops(frozen_below, 100, seen, attention).recomputed_attention, 0.0);
}

TEST(TrainingRates, AreMeasuredOnALayerOfTheModel) {
  const model::ModelConfig config = full_model("gqa_untied").config;
  const TrainingRates rates = measure_training_rates(config, at::kFloat, checkpoint::LoraConfig{}, 64.0);
  EXPECT_GT(rates.matrix, 1e6);
  EXPECT_GT(rates.attention, 1e6);
  EXPECT_GT(rates.update, 1e6);
  StepFlops flops;
  flops.matrix = 2.0 * rates.matrix;
  flops.recomputed_attention = rates.attention;
  EXPECT_DOUBLE_EQ(estimate_seconds(flops, rates), 3.0);
}

TEST(MemoryPlan, NeedsNoValues) {
  const model::Decoder real = lora_plus_model("gqa_untied", at::kBFloat16);
  model::Decoder shape = model::shape_decoder(real.config, at::kBFloat16);
  model::add_lora(shape, {}, 1);
  model::train_adapter(shape, {"embed", "norm"});
  EXPECT_EQ(plan_with(shape, 64, Recompute::kAlways, int64_t{1} << 40).total_bytes(),
            plan_with(real, 64, Recompute::kAlways, int64_t{1} << 40).total_bytes());
}

TEST(MemoryPlan, ObeysWhatIsForced) {
  const model::Decoder decoder = lora_plus_model("gqa_untied");
  const MemoryPlan always = plan_with(decoder, 64, Recompute::kAlways, int64_t{1} << 40);
  EXPECT_THAT(always.keep, ElementsAre(Keep::kInput, Keep::kInput, Keep::kInput));
  EXPECT_EQ(always.kept_bytes, 0);
  const MemoryPlan never =
      plan_with(decoder, 100000, Recompute::kNever, always.total_bytes() + (int64_t{1} << 30));
  EXPECT_THAT(never.keep, ElementsAre(Keep::kEverything, Keep::kEverything, Keep::kEverything));
}

TEST(MemoryPlan, CountsMastersGradientsAndMoments) {
  const model::Decoder narrow = full_model("gqa_untied", at::kBFloat16), wide = full_model("gqa_untied");
  const int64_t parameters = model::count_parameters(wide).total;
  const MemoryPlan narrow_plan = plan_with(narrow, 16, Recompute::kAlways, int64_t{1} << 40);
  EXPECT_EQ(narrow_plan.weights_bytes, 2 * parameters);
  EXPECT_EQ(narrow_plan.optimizer_bytes, 16 * parameters);
  const MemoryPlan wide_plan = plan_with(wide, 16, Recompute::kAlways, int64_t{1} << 40);
  EXPECT_EQ(wide_plan.weights_bytes, 4 * parameters);
  EXPECT_EQ(wide_plan.optimizer_bytes, 12 * parameters);  // the weights are the masters
}

TEST(MemoryPlan, CountsWeightsInFourBits) {
  const auto folder = test::data_path("goldens/nf4");
  const model::Decoder real = model::load_decoder(folder / "quantized", at::kBFloat16);
  const model::Decoder shape = model::shape_decoder(real.config, at::kBFloat16);
  const model::ParameterCounts counts = model::count_parameters(real);
  EXPECT_EQ(counts.quantized, 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 128 * 64));
  const MemoryPlan plan = plan_with(real, 64, Recompute::kAlways, int64_t{1} << 40);
  EXPECT_EQ(plan.weights_bytes, 2 * (counts.total - counts.quantized) + counts.quantized_bytes);
  EXPECT_LT(counts.bits_per_quantized(), 4.3);
  EXPECT_EQ(plan_with(shape, 64, Recompute::kAlways, int64_t{1} << 40).weights_bytes, plan.weights_bytes);
  EXPECT_THAT(forward::streamable_weights(shape), ElementsAre("lm_head.weight"));
}

TEST(MemoryPlan, RefusesWhatCannotFitAndSaysWhatWould) {
  const model::Decoder decoder = lora_plus_model("gqa_untied");
  const int64_t budget = int64_t{600} << 20;
  const std::string message =
      message_of<ResourceError>([&] { plan_with(decoder, 1000000, Recompute::kAuto, budget); });
  EXPECT_THAT(message, AllOf(HasSubstr("600"), HasSubstr("tokens per micro-batch would fit"),
                             HasSubstr("--model_max_length")));
  // The number it names does fit, and not much more does.
  const size_t start = message.find("; about ") + 8;
  std::string digits;
  for (size_t i = start; message[i] != ' '; ++i)
    if (message[i] != ',') digits += message[i];
  const int64_t tokens = std::stoll(digits);
  EXPECT_GT(tokens, 1000);
  EXPECT_NO_THROW(plan_with(decoder, tokens, Recompute::kAuto, budget));
  EXPECT_THROW(plan_with(decoder, tokens + tokens / 50, Recompute::kAuto, budget), ResourceError);
  EXPECT_THAT(message_of<ResourceError>([&] { plan_with(decoder, 16, Recompute::kAuto, 1000); }),
              HasSubstr("about 0 tokens"));
}

}  // namespace
}  // namespace longlora::train
