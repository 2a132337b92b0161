// One way from options to plan to run: what is planned is what is trained.
#include "longlora/train/setup.h"

#include <list>
#include <tuple>

#include "longlora/core/error.h"
#include "longlora/forward/mapped_files.h"
#include "longlora/model/adapter.h"
#include "longlora/model/config_fields.h"
#include "longlora/train/trained_parameters.h"
#include "longlora/train/trainer.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::Not;

fs::path adapter_part(const std::string& name) {
  return test::data_path("goldens/adapter_parts") / name;
}

// What a run may ask of a model, by name.
std::list<std::pair<std::string, TrainOptions>> runs() {
  std::list<std::pair<std::string, TrainOptions>> all;  // whose references stay
  const auto add = [&](const std::string& name) -> TrainOptions& {
    TrainOptions& options = all.emplace_back(name, small_run("out")).second;
    options.lora.target_modules.clear();  // those of the model's family
    return options;
  };
  add("LoRA+ in float32");
  add("LoRA+ in bfloat16").fp32 = false;
  add("every weight").low_rank_training = false;
  TrainOptions& dora = add("DoRA of all layers");
  dora.lora.use_dora = true;
  dora.lora.target_modules = {"all-linear"};
  add("four bits").quantize = ops::Nf4Options();
  TrainOptions& longer = add("a stretched window");
  longer.model_max_length = 256;
  longer.rope_scaling = model::RopeType::kYarn;
  add("fused projections").model_name_or_path = test::data_path("goldens/families/phi3");
  for (const char* name : {"saved_head", "saved_embedding_resized", "resized"}) {
    TrainOptions& adapted = add(name);
    adapted.model_name_or_path = adapter_part("bases/tied");
    adapted.peft_model = adapter_part(name);
  }
  TrainOptions& random = add("from nothing");
  random.init_random = true;
  random.config_file = random.model_name_or_path / "config.json";
  random.model_name_or_path.clear();
  random.low_rank_training = false;
  return all;
}

using Parameters = std::vector<std::tuple<std::string, std::vector<int64_t>, at::ScalarType, bool, bool>>;

// Names, shapes, dtypes, whether they are in four bits and whether they train.
Parameters parameters_of(const model::Decoder& decoder) {
  Parameters found;
  model::visit_parameters(decoder, [&](const std::string& name, const model::Parameter& parameter) {
    found.emplace_back(name, parameter.value.sizes().vec(), parameter.value.scalar_type(),
                       parameter.value.is_nf4(), parameter.trainable());
  });
  return found;
}

std::string config_of(const model::Decoder& decoder) {
  return model::model_config_json(decoder.config, "float32").dump(1);
}

TEST(RunSetup, HasTheShapeOfTheDecoderThatTheRunTrains) {
  for (const auto& [name, options] : runs()) {
    SCOPED_TRACE(name);
    const RunSetup setup = set_up_run(options);
    const BuiltRun run = build_run(setup, plan_run(setup));
    EXPECT_EQ(parameters_of(setup.shape), parameters_of(run.decoder));
    EXPECT_EQ(config_of(setup.shape), config_of(run.decoder));
    EXPECT_EQ(run.options.to_json(), setup.options.to_json());
  }
}

TEST(RunSetup, GivesAPlanThatIsOnlyAskedForWhatItGivesTheRun) {
  for (const auto& [name, options] : runs()) {
    SCOPED_TRACE(name);
    TrainOptions planned = options;
    planned.only_planned = true;
    const RunSetup of_run = set_up_run(options), of_plan = set_up_run(planned);
    EXPECT_EQ(parameters_of(of_plan.shape), parameters_of(of_run.shape));
    EXPECT_EQ(of_plan.streamable, of_run.streamable);
    EXPECT_EQ(of_plan.copies, of_run.copies);
    EXPECT_EQ(of_plan.options.to_json(), of_run.options.to_json());
    const auto plan_of = [](const RunSetup& setup) {
      PlanRequest request = run_request(setup);
      request.program_bytes = 0;  // grows from test to test
      request.budget_bytes = int64_t{1} << 40;
      return make_memory_plan(setup.shape, request);
    };
    EXPECT_EQ(plan_of(of_plan).describe(), plan_of(of_run).describe());
  }
}

// An adapter on gqa_untied that has trained its head whole.
void write_adapter_with_head(const fs::path& folder) {
  model::Decoder decoder = model::load_decoder(tiny_model("gqa_untied"), at::kFloat);
  checkpoint::LoraConfig config;
  model::add_lora(decoder, config, 1);
  model::train_adapter(decoder, {"lm_head"});
  decoder.lm_head.value.dense().detach().add_(0.125);
  const model::AdapterTensors tensors = model::adapter_tensors(decoder);
  checkpoint::write_peft_adapter(folder, config, tensors.lora, tensors.parameters);
}

TrainOptions run_on_adapter_with_head(const fs::path& folder) {
  write_adapter_with_head(folder);
  TrainOptions options = small_run(folder / "out");
  options.peft_model = folder;
  options.trainable_params = {};
  return options;
}

TEST(RunSetup, LeavesNoWeightInTheBasesFilesThatTheAdapterReplaces) {
  const test::TemporaryDirectory folder;
  const RunSetup setup = set_up_run(run_on_adapter_with_head(folder.path()));
  EXPECT_THAT(setup.streamable, Contains("model.layers.0.mlp.up_proj.weight"));
  EXPECT_THAT(setup.streamable, Not(Contains("lm_head.weight")));
  EXPECT_FALSE(setup.copies);
  const std::vector<Keep> keep(setup.shape.blocks.size(), Keep::kInput);
  MemoryPlan plan = predict_memory(setup.shape, run_request(setup), keep, 0);
  plan.weights_streamed = true;
  const BuiltRun run = build_run(setup, plan);
  std::set<std::string> in_files;
  model::visit_parameters(run.decoder, [&](const std::string& name, const model::Parameter& parameter) {
    if (parameter.value.is_meta()) in_files.insert(name);
  });
  EXPECT_EQ(in_files, setup.streamable);
  const at::Tensor of_base = run.base->weights.load("lm_head.weight");
  EXPECT_TRUE(at::equal(run.source->head(run.decoder)->value.dense(), of_base + 0.125));
}

TEST(RunSetup, CountsAReplacedHeadAsMemoryWhereWeightsAreStreamed) {
  const test::TemporaryDirectory folder;
  TrainOptions options = run_on_adapter_with_head(folder.path());
  const auto resident_bytes = [&] {
    const RunSetup setup = set_up_run(options);
    PlanRequest request = run_request(setup);
    request.program_bytes = 0;
    for (request.budget_bytes = int64_t{1} << 40;;) {  // ever tighter, until weights are streamed
      const MemoryPlan plan = make_memory_plan(setup.shape, request);
      if (plan.weights_streamed) return plan.weights_bytes;
      request.budget_bytes = plan.total_bytes() - 1;
    }
  };
  const int64_t with_replaced_head = resident_bytes();
  options.peft_model.clear();
  const int64_t head_bytes = 96 * 32 * 4;
  EXPECT_EQ(with_replaced_head, resident_bytes() + head_bytes);
}

TEST(RunSetup, OpensTheModelAndItsAdapterOnce) {
  const test::TemporaryDirectory folder;
  fs::create_directories(folder / "base");
  fs::create_directories(folder / "adapter");
  fs::copy(tiny_model("gqa_untied"), folder / "base", fs::copy_options::recursive);
  TrainOptions options = run_on_adapter_with_head(folder / "adapter");
  options.model_name_or_path = folder / "base";
  options.fp32 = false;
  RunSetup setup = set_up_run(options);
  MemoryPlan plan = plan_run(setup);
  plan.weights_streamed = true;
  // Whoever looks for the files again finds none.
  fs::rename(folder / "base", folder / "moved base");
  fs::rename(folder / "adapter", folder / "moved adapter");
  BuiltRun run = build_run(std::move(setup), plan);
  EXPECT_TRUE(at::equal(run.source->layer(run.decoder, 1)->up_proj.weight.value.dense(),
                        run.base->weights.load("model.layers.1.mlp.up_proj.weight").to(at::kBFloat16)));
  TrainedParameters trained(run.decoder);
  trained.load_masters(run.base->weights, &*run.adapter);
  const std::string module = run.adapter->modules().front();
  model::visit_linears(run.decoder, [&](const std::string& name, const model::Linear& linear) {
    if (name != module) return;
    EXPECT_TRUE(at::equal(trained.find(linear.lora->a)->master, run.adapter->load_a(module)));
  });
}

TEST(RunSetup, FillsInWhatTheModelAndItsAdapterDecide) {
  TrainOptions options = small_run("out");
  options.rope_scaling = model::RopeType::kYarn;
  options.lora.target_modules = {};
  EXPECT_EQ(set_up_run(options).options.rope_scaling, model::RopeType::kLinear);  // no window is stretched
  EXPECT_THAT(set_up_run(options).options.lora.target_modules,
              ::testing::ElementsAre("q_proj", "k_proj", "v_proj", "o_proj"));
  options.model_max_length = 256;
  const RunSetup stretched = set_up_run(options);
  EXPECT_EQ(stretched.options.rope_scaling, model::RopeType::kYarn);
  EXPECT_EQ(stretched.shape.config.rope_scaling.factor, 4.0);
  options.peft_model = test::data_path("goldens/peft_adapter");
  const auto adapter = checkpoint::PeftAdapter::open(options.peft_model);
  EXPECT_EQ(set_up_run(options).options.lora.rank, adapter.config().rank);
  EXPECT_EQ(set_up_run(options).options.lora.dropout, adapter.config().dropout);
  options.lora_dropout = 0.25;
  EXPECT_EQ(set_up_run(options).options.lora.dropout, 0.25);
}

TEST(RunSetup, OfAModelThatIsNowhereNeedsNoFiles) {
  TrainOptions options = small_run("out");
  const model::ModelConfig config = model::read_model_config(options.model_name_or_path);
  options.model_name_or_path = "/nowhere";
  options.only_planned = true;
  const RunSetup setup = set_up_run(options, config);
  EXPECT_FALSE(setup.base);
  EXPECT_EQ(setup.streamable, forward::streamable_weights(setup.shape));
  EXPECT_FALSE(setup.copies);
  EXPECT_THROW(set_up_run(options), InputError);
}

}  // namespace
}  // namespace longlora::train
