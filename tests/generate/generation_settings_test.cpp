#include "longlora/generate/generation_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "longlora/core/error.h"
#include "longlora/generate/engine.h"
#include "longlora/generate/text_generation.h"
#include "longlora/tokenizer/tokenizer.h"
#include "tests/generate/test_models.h"
#include "tests/support/temporary_directory.h"

namespace longlora::generate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

GenerationSettings settings_of(const Json& file, const Json& model_config = Json::object()) {
  const test::TemporaryDirectory folder;
  write_json(folder / "generation_config.json", file);
  return read_generation_settings(folder.path(), model_config);
}

// Values of scripts/references/generation.py.
Json golden() {
  return read_json(test::data_path("goldens/generation.json"));
}

TEST(GenerationSettings, WriteWhatTransformersWritesUnderThem) {
  const Json file = golden();
  const model::Decoder decoder = model::load_decoder(test::data_path(file["model"]), at::kFloat);
  const auto tokenizer = tokenizer::load_tokenizer(test::data_path(file["model"]));
  const auto prompt = file["prompt"].get<std::vector<int64_t>>();
  for (const Json& entry : file["cases"]) {
    const GenerationSettings settings = settings_of(entry["generation_config"]);
    auto expected = entry["ids"].get<std::vector<int64_t>>();
    const auto most = static_cast<int64_t>(expected.size());
    // transformers gives the id that ends the text, too.
    const bool ended = std::count(settings.eos_ids.begin(), settings.eos_ids.end(), expected.back()) != 0;
    if (ended) expected.pop_back();
    SamplingOptions options = choose_sampling(settings, {});
    if (!settings.do_sample) options.temperature = 0.0;  // what transformers does without a word about it
    Engine engine(decoder, 0);
    const TextGeneration written =
        generate_text(engine, {.prompt = prompt, .max_new_tokens = most, .sampling = options},
                      {.ids = settings.eos_ids}, *tokenizer);
    EXPECT_EQ(written.generation.ids, expected) << entry["generation_config"];
    EXPECT_EQ(was_ended(written.generation.reason), ended) << entry["generation_config"];
  }
}

TEST(GenerationSettings, LeaveTheTokensThatTransformersLeaves) {
  const Json file = golden();
  const at::Tensor logits = at::tensor(file["logits"].get<std::vector<double>>()).to(at::kFloat);
  constexpr int64_t kDraws = 20000;
  for (const Json& entry : file["warped"]) {
    Json config = entry["options"];
    config["do_sample"] = true;
    if (!config.contains("top_k")) config["top_k"] = 0;
    const PickToken pick = make_sampler(choose_sampling(settings_of(config), {}));
    std::map<int64_t, double> counts;
    for (int64_t i = 0; i < kDraws; ++i) counts[pick(logits)] += 1.0 / kDraws;
    const auto probabilities = entry["probabilities"].get<std::vector<double>>();
    for (size_t id = 0; id < probabilities.size(); ++id) {
      const double got = counts.contains(static_cast<int64_t>(id)) ? counts[static_cast<int64_t>(id)] : 0.0;
      if (probabilities[id] == 0.0)
        EXPECT_EQ(got, 0.0) << entry["options"] << id;
      else
        EXPECT_NEAR(got, probabilities[id], 0.02) << entry["options"] << id;
    }
  }
}

TEST(GenerationSettings, EndsAreThoseOfBothFiles) {
  EXPECT_THAT(settings_of({{"eos_token_id", {7, 8}}}, {{"eos_token_id", 2}}).eos_ids, ElementsAre(7, 8, 2));
  EXPECT_THAT(settings_of({{"eos_token_id", nullptr}}, {{"eos_token_id", {3, 4}}}).eos_ids,
              ElementsAre(3, 4));
  EXPECT_THAT(settings_of({{"stop_strings", "###"}}).stop_strings, ElementsAre("###"));
  const test::TemporaryDirectory none;
  const auto settings = read_generation_settings(none.path(), {{"eos_token_id", 5}, {"top_k", 9}});
  EXPECT_THAT(settings.eos_ids, ElementsAre(5));
  EXPECT_EQ(settings.top_k, 9);  // as transformers takes it from older config.json
}

TEST(GenerationSettings, ASamplingModelsUnnamedSettingsAreThoseOfTransformers) {
  const SamplingOptions some = choose_sampling(settings_of({{"do_sample", true}, {"top_p", 0.8}}), {});
  EXPECT_EQ(some.temperature, 1.0);
  EXPECT_EQ(some.top_p, 0.8);
  EXPECT_EQ(some.top_k, 50);
  const SamplingOptions named = choose_sampling(settings_of({{"temperature", 0.3}}), {});
  EXPECT_EQ(named.temperature, 0.3);
  const SamplingOptions silent = choose_sampling(settings_of({{"eos_token_id", 2}}), {});
  EXPECT_EQ(silent.temperature, SamplingOptions().temperature);
  EXPECT_EQ(silent.top_k, 0);
}

TEST(GenerationSettings, WithoutSamplingTheLikeliestTokenIsTakenUnlessAWishIsAboutSampling) {
  const GenerationSettings settings = settings_of({{"do_sample", false}, {"temperature", 0.9}});
  EXPECT_EQ(choose_sampling(settings, {}).temperature, 0.0);
  EXPECT_EQ(choose_sampling(settings, {.temperature = 0.5}).temperature, 0.5);
  EXPECT_EQ(choose_sampling(settings, {.top_p = 0.5}).temperature, SamplingOptions().temperature);
  EXPECT_EQ(choose_sampling(settings, {.repetition_penalty = 1.5}).temperature, 0.0);
}

TEST(GenerationSettings, WishesGoFirst) {
  const GenerationSettings settings = settings_of({{"do_sample", true},
                                                   {"temperature", 0.7},
                                                   {"top_p", 0.8},
                                                   {"top_k", 20},
                                                   {"repetition_penalty", 1.05}});
  const SamplingOptions options =
      choose_sampling(settings, {.temperature = 0.0, .repetition_penalty = 1.0, .top_k = 3});
  EXPECT_EQ(options.temperature, 0.0);
  EXPECT_EQ(options.top_p, 0.8);
  EXPECT_EQ(options.top_k, 3);
  EXPECT_EQ(options.repetition_penalty, 1.0);
}

TEST(GenerationSettings, NamesWhatIsNotFollowed) {
  EXPECT_THAT(settings_of({{"num_beams", 4},
                           {"typical_p", 1.0},
                           {"no_repeat_ngram_size", 0},
                           {"top_k", 5},
                           {"suppress_tokens", Json::array()},
                           {"bad_words_ids", nullptr}})
                  .not_followed,
              ElementsAre("num_beams 4"));
  EXPECT_THAT(settings_of({{"do_sample", true}, {"top_k", 5}}).not_followed, IsEmpty());
  EXPECT_THAT(settings_of({{"do_sample", true}, {"top_k", 5}}).sampling,
              ElementsAre("do_sample true", "top_k 5"));
}

TEST(GenerationSettings, RefusesValuesThatAreNone) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"eos_token_id": "</s>"})", R"(eos_token_id to be an id or a list of ids, got "</s>")"},
      {R"({"eos_token_id": 2.5})", "eos_token_id"},
      {R"({"eos_token_id": [2, true]})", "eos_token_id"},
      {R"({"eos_token_id": [[2]]})", "eos_token_id"},
      {R"({"temperature": "0.7"})", "temperature"},
      {R"({"temperature": -1})", "temperature"},
      {R"({"top_p": 0})", "top_p"},
      {R"({"top_p": 1.5})", "top_p"},
      {R"({"top_k": -1})", "top_k"},
      {R"({"top_k": 2.5})", "top_k"},
      {R"({"do_sample": "yes"})", "do_sample"},
      {R"({"repetition_penalty": 0})", "repetition_penalty"},
      {R"({"max_new_tokens": 0})", "max_new_tokens"},
      {"[1]", "expected an object"}};
  for (const auto& [file, message] : cases)
    EXPECT_THAT(test::message_of<InputError>([&f = file] { settings_of(parse_json(f, "test")); }),
                testing::AllOf(HasSubstr("generation_config.json"), HasSubstr(message)))
        << file;
  EXPECT_THAT(test::message_of<InputError>([] {
                settings_of(Json::object(), {{"eos_token_id", "x"}});
              }),
              HasSubstr("/config.json] expected eos_token_id"));
}

}  // namespace
}  // namespace longlora::generate
