// The data that a run learns from, and the order in which it is read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longlora/data/instruction_tokens.h"
#include "longlora/tokenizer/prompt_form.h"
#include "longlora/train/option_fields.h"

namespace longlora::train {

struct DataOptions {
  std::vector<std::filesystem::path> data_path;
  std::vector<std::filesystem::path> eval_data_path;
  std::string text_field = "text";
  std::string bin_dtype = "auto";  // how a .bin stores ids; see data::id_type_choices()
  bool shuffle = true;

  // Whether the data are questions and answers, as for `sft`.
  bool supervised = false;
  tokenizer::PromptForm prompt = tokenizer::PromptForm::kLlama2;
  std::string prompt_date;  // that the chat template writes; empty: it writes none
  data::Truncation truncation = data::Truncation::kMiddle;
  bool packing = true;
  bool group_by_length = false;   // whether a batch has rows of similar length
  bool skip_bad_samples = false;  // whether broken samples are left out instead of ending the run
  bool cache_tokens = true;       // whether the tokens of each file of samples are kept beside it

  template <typename Options, typename Fields>
  static void list_fields(Options& options, Fields& fields) {
    if (options.supervised)
      list_samples(options, fields);
    else
      list_texts(options, fields);
  }

 private:
  static constexpr FieldRule kRecorded = {.kept = Kept::kInRecord};

  /// The fields that `fine-tune` has.
  template <typename Options, typename Fields>
  static void list_texts(Options& options, Fields& fields) {
    fields.add("--data_path", options.data_path,
               "Ids (.bin), text or JSON (a list or lines; also .gz, .zst), or folders of them", kRecorded);
    fields.check(options.only_planned || !options.data_path.empty(),
                 "--data_path is needed: .bin, .txt or .jsonl files, or folders of them");
    fields.add("--eval_data_path", options.eval_data_path, "Held-out data, in the same forms", kRecorded);
    fields.add("--text_field", options.text_field, "Field of a JSON object that holds the text");
    fields.record("bin_dtype", options.bin_dtype, Kept::kInIdentity);
    fields.add("--shuffle", options.shuffle, "Visit the rows in a random order that --seed decides");
  }

  /// The fields that `sft` has.
  template <typename Options, typename Fields>
  static void list_samples(Options& options, Fields& fields) {
    fields.add("--data_path", options.data_path,
               "Samples: JSON lists or JSON lines of instruction and output, messages or conversations",
               kRecorded);
    fields.check(options.only_planned || !options.data_path.empty(),
                 "--data_path is needed: .json or .jsonl files of questions and answers");
    fields.add("--eval_data_path", options.eval_data_path, "Held-out samples, in the same forms", kRecorded);
    fields.record("text_field", options.text_field, Kept::kInIdentity);
    fields.record("bin_dtype", options.bin_dtype, Kept::kInIdentity);
    fields.record("shuffle", options.shuffle, Kept::kInIdentity);
    fields.record("prompt", tokenizer::prompt_form_name(options.prompt), Kept::kInIdentity);
    if (!options.prompt_date.empty()) fields.record("prompt_date", options.prompt_date, Kept::kInIdentity);
    fields.choice("--truncate", options.truncation,
                  choices_of(data::truncation_names(), data::truncation_from_name),
                  "What goes of a sample longer than a row: middle (of the user's longest text; question and "
                  "answer stay), left, right, or drop (all of it)");
    fields.add("--packing", options.packing, "Put several samples into a row; none sees another");
    fields.record("group_by_length", options.group_by_length, Kept::kInIdentity);
    fields.add("--skip_bad_samples", options.skip_bad_samples, "Leave broken samples out instead of stopping",
               kRecorded);
    fields.add("--cache_tokens", options.cache_tokens,
               "Keep tokens beside each file of samples for the next run", kRecorded);
  }
};

struct SeedOptions {
  uint64_t seed = 42;
  std::optional<uint64_t> data_seed;  // decides the order of rows; not given: `seed` does

  template <typename Options, typename Fields>
  static void list_fields(Options& options, Fields& fields) {
    fields.add("--seed", options.seed, "Decides the order of rows, new weights and what is drawn");
    fields.add("--data_seed", options.data_seed, "Decides the order of rows in place of --seed");
  }
};

}  // namespace longlora::train
