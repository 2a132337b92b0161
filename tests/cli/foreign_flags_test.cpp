// Command lines that other programs taught people: the tables of longlora/cli/foreign_flags.h.
#include "longlora/cli/foreign_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <set>

#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "tests/cli/words.h"

namespace longlora::cli {
namespace {

using test::data;
using test::Words;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

std::vector<const FlagGroup*> all_groups() {
  std::vector<const FlagGroup*> groups = {&trainer_flags()};
  for (const FlagGroup& group : released_flags()) groups.push_back(&group);
  return groups;
}

std::set<std::string> names_of(const FlagGroup& group) {
  std::set<std::string> names;
  for (const ForeignFlag& flag : group.flags) names.emplace(flag.name);
  return names;
}

// Names of a list that `known` lacks.
std::vector<std::string> missing(const Json& names, const std::set<std::string>& known) {
  std::vector<std::string> found;
  for (const std::string name : names)
    if (!known.contains(name)) found.push_back(name);
  return found;
}

// All verbs, as the program has them.
class Verbs {
 public:
  Verbs() {
    app_.require_subcommand(1);
    add_verbs(app_);
  }
  const CLI::App& app() const { return app_; }
  const CLI::Option* option(std::string_view verb, std::string_view name) const {
    return app_.get_subcommand(std::string(verb))->get_option_no_throw("--" + std::string(name));
  }
  Words spelled(const Words& words) const { return with_own_spelling(app_, words); }

 private:
  CLI::App app_;
};

// Parses words with the foreign flags of `fine-tune` alone; what it logs on the way.
std::string log_of(const Words& words) {
  CLI::App app;
  add_foreign_flags(*app.add_subcommand("fine-tune"));
  testing::internal::CaptureStderr();
  try {
    Words all = {"fine-tune"};
    all.insert(all.end(), words.begin(), words.end());
    parse(app, all);
  } catch (...) {
    testing::internal::GetCapturedStderr();
    throw;
  }
  return testing::internal::GetCapturedStderr();
}

TEST(ForeignFlags, HaveEveryFieldOfTrainingArguments) {
  const Json golden = read_json(data("goldens/training_arguments.json"));
  const std::set<std::string> known = names_of(trainer_flags());
  EXPECT_GT(golden["fields"].size(), 100u);
  EXPECT_THAT(missing(golden["fields"], known), IsEmpty());
  EXPECT_THAT(missing(golden["older"], known), IsEmpty());
}

TEST(ForeignFlags, HaveEveryFlagOfTheReleasedScripts) {
  const Json golden = read_json(data("goldens/released_scripts.json"));
  EXPECT_EQ(golden.size(), 11u);
  for (const auto& [script, flags] : golden.items()) {
    std::set<std::string> known;
    for (const FlagGroup& group : released_flags())
      if (std::count(group.scripts.begin(), group.scripts.end(), script) > 0) known = names_of(group);
    EXPECT_THAT(missing(flags, known), IsEmpty()) << script;
  }
}

TEST(ForeignFlags, ThatWorkAreOptionsOfTheirVerbs) {
  const Verbs verbs;
  for (const FlagGroup* group : all_groups())
    for (const std::string_view verb : group->verbs)
      for (const ForeignFlag& flag : group->flags) {
        const bool is_other_name = flag.fate == FlagFate::kSameAs;
        const CLI::Option* option = verbs.option(verb, is_other_name ? flag.word : flag.name);
        ASSERT_NE(option, nullptr) << verb << " --" << flag.name;
        // What works is in --help, and what does not is hidden: it never takes the place of an option.
        const bool works = flag.fate == FlagFate::kWorks || is_other_name;
        EXPECT_EQ(!option->get_group().empty(), works) << verb << " --" << flag.name;
      }
}

TEST(ForeignFlags, HaveOnePlaceEach) {
  for (const FlagGroup* group : all_groups()) EXPECT_EQ(names_of(*group).size(), group->flags.size());
}

TEST(ForeignFlags, AreWhatDocsFlagsSays) {
  EXPECT_TRUE(flags_page() == read_file(std::string(LONGLORA_SOURCE_DIR) + "/docs/flags.md"))
      << "make it again: longlora --flags_page >docs/flags.md";
}

TEST(ForeignFlags, WithoutEffectSayWhyNothingHappens) {
  EXPECT_THAT(log_of({"--deepspeed", "ds_configs/stage2.json"}),
              HasSubstr("--deepspeed has no effect: a run is one process; multiply"));
  EXPECT_THAT(log_of({"--do_train"}), HasSubstr("--do_train has no effect: this verb trains"));
  const std::string several = log_of({"--report_to", "wandb", "tensorboard", "--ddp_timeout=1800"});
  EXPECT_THAT(several, HasSubstr("--report_to has no effect: TensorBoard"));
  EXPECT_THAT(several, HasSubstr("--ddp_timeout has no effect"));
}

TEST(ForeignFlags, ThatAreRefusedSayWhatToDoUnlessTheyAskForNothing) {
  for (const Words& words : {Words{"--fp16", "False"},
                             {"--fp16=no"},
                             {"--label_smoothing_factor", "0.0"},
                             {"--lr_scheduler_kwargs", "{}"},
                             {"--no_push_to_hub"}})
    EXPECT_EQ(log_of(words), "");
  EXPECT_THAT(
      [] {
        log_of({"--fp16", "True"});
      },
      ThrowsMessage<UsageError>(HasSubstr("[--fp16] expected no such flag or False, got True; float16 is "
                                          "not computed in; take --bf16 True")));
  EXPECT_THAT([] { log_of({"--fp16"}); }, ThrowsMessage<UsageError>(HasSubstr("got it alone; float16")));
  EXPECT_THAT(
      [] {
        log_of({"--optim_args", "rank=4"});
      },
      ThrowsMessage<UsageError>(HasSubstr("[--optim_args] expected no such flag, got rank=4")));
}

TEST(ForeignFlags, AreTakenInEverySpellingOfHuggingFace) {
  const Verbs verbs;
  EXPECT_THAT(verbs.spelled({"fine-tune", "--learning-rate", "1e-4", "--model-max-length=64"}),
              ElementsAre("fine-tune", "--learning_rate", "1e-4", "--model_max_length=64"));
  EXPECT_THAT(
      verbs.spelled({"sft", "--no_packing", "--no-low-rank-training", "--no_dataloader_pin_memory"}),
      ElementsAre("sft", "--packing=False", "--low_rank_training=False", "--dataloader_pin_memory=False"));
  EXPECT_THAT(verbs.spelled({"sft", "--no_cuda", "--per-gpu-train-batch-size", "2"}),
              ElementsAre("sft", "--use_cpu", "--per_device_train_batch_size", "2"));
}

TEST(ForeignFlags, LeaveValuesAndUnknownWordsAsTheyAre) {
  const Verbs verbs;
  for (const Words& words : {Words{"inference", "--question", "--top-p"},
                             {"fine-tune", "--no_such_thing", "--no_lora_r"},
                             {"tokenise", "--learning-rate"},
                             {}})
    EXPECT_THAT(verbs.spelled(words), ElementsAreArray(words));
}

}  // namespace
}  // namespace longlora::cli
