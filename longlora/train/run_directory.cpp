#include "longlora/train/run_directory.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>
#include <utility>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/log.h"
#include "longlora/core/output_folder.h"
#include "longlora/model/adapter.h"
#include "longlora/model/companion_files.h"
#include "longlora/model/load.h"
#include "longlora/tensors/disk_tensor.h"
#include "longlora/tensors/dtypes.h"
#include "longlora/tokenizer/taught_form.h"
#include "longlora/train/input_fingerprints.h"

namespace longlora::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFinished = "finished";

RunState parse_state(const Json& json, const fs::path& path) {
  try {
    return {.step = json.at("step").get<int64_t>(),
            .rows_consumed = json.at("rows_consumed").get<int64_t>(),
            .tokens = json.at("tokens").get<int64_t>(),
            .seconds = json.at("seconds").get<double>(),
            .data_tokens = json.value("data_tokens", int64_t{0}),
            .num_threads = json.value("threads", int64_t{0}),
            .data_fingerprint = json.value("data_fingerprint", std::string()),
            .tile_tokens = json.value("tile_rows", int64_t{-1}),
            .loss_chunk_rows = json.value("loss_chunk_rows", int64_t{0}),
            .max_steps = json.value("max_steps", int64_t{0})};
  } catch (const Json::exception& error) {
    throw InputError(fmt::format("[{}] expected the state of a run, got: {}", path.string(), error.what()));
  }
}

// Returns the names of options that differ between two identities. An option that an older version did not
// record is no difference.
std::vector<std::string> differences(const Json& saved, const Json& asked) {
  std::vector<std::string> names;
  for (const auto& [name, value] : asked.items()) {
    if (!saved.contains(name) || saved[name] == value) continue;
    if (name == kInputs) {
      for (const auto& [input, fingerprint] : value.items())
        if (saved[name].value(input, "") != fingerprint)
          names.push_back(fmt::format("the content of {}", input));
    } else {
      names.push_back(fmt::format("{} (was {}, now {})", name, saved[name].dump(), value.dump()));
    }
  }
  return names;
}

// Throws InputError where the data of a checkpoint were others. A version that did not record them wrote a
// state without them, which is accepted.
void check_data(const RunState& state, const RunState& asked) {
  if (state.data_tokens != 0 && state.data_tokens != asked.data_tokens)
    throw InputError(
        fmt::format("[--data_path] expected the {} tokens that this run was started with, got {}; resume "
                    "with the same data, "
                    "or start anew in another --output_dir",
                    state.data_tokens, asked.data_tokens));
  if (!state.data_fingerprint.empty() && state.data_fingerprint != asked.data_fingerprint)
    throw InputError(
        "[--data_path] expected the samples that this run was started with, got others of the same size; "
        "resume "
        "with the same data, or start anew in another --output_dir");
}

// Throws InputError where a run that was begun with another number of updates cannot go on to `asked`. Under
// a schedule whose rates depend on that number, the updates so far would have been others.
void check_length(const RunState& state, int64_t asked, const TrainOptions& options, const fs::path& source) {
  if (state.max_steps == 0 || state.max_steps == asked) return;
  if (asked < state.step)
    throw InputError(
        fmt::format("[{}] expected at least the {} steps that are done already, got --max_steps {}",
                    source.string(), state.step, asked));
  const bool by_step_alone = options.schedule == ScheduleType::kConstantWithWarmup ||
                             options.schedule == ScheduleType::kConstant ||
                             options.schedule == ScheduleType::kInverseSqrt;
  if (by_step_alone && options.warmup_ratio == 0.0 && options.full_attention_steps == 0)
    return log_info(
        fmt::format("{} steps in place of {}: the learning rate goes on as it is", asked, state.max_steps));
  throw InputError(fmt::format(
      "[{}] expected the {} steps that this run was started with, got {}: its learning rate or its last "
      "steps of "
      "full attention depend on their number; go on from its result instead, in another --output_dir with {} "
      "{}",
      source.string(), state.max_steps, asked,
      options.low_rank_training ? "--peft_model" : "--model_name_or_path", options.output_dir.string()));
}

// Returns what `read` reads from the newest checkpoint of `folder`. Where its files cannot be read, the error
// says how the run can go on.
template <typename Read>
auto read_newest(const RunFolder& folder, Read read) {
  try {
    return read();
  } catch (const InputError& error) {
    const auto steps = folder.checkpoints();
    const auto name = [&](int64_t step) { return folder.checkpoint_path(step).filename().string(); };
    const std::string way_out =
        steps.size() > 1
            ? fmt::format("remove {} to resume from {}", name(steps.back()), name(steps[steps.size() - 2]))
            : "there is no earlier checkpoint: start anew in another --output_dir";
    throw InputError(fmt::format("{}; {}", error.what(), way_out));
  }
}

// Fills a tensor of the optimizer. One on disk is filled piece by piece, so that only a piece takes memory.
void load_state(const checkpoint::TensorStore& store, const std::string& name, const at::Tensor& tensor) {
  if (!tensors::is_on_disk(tensor) || !store.can_view(name, tensor.scalar_type()))
    return tensors::copy_by_pieces(tensor, store.load(name, tensor.sizes(), tensor.scalar_type()));
  const at::Tensor source = store.view(name, tensor.sizes()).view(-1), target = tensor.view(-1);
  tensors::for_each_disk_piece(target.numel(), [&](int64_t begin, int64_t end) {
    target.slice(0, begin, end).copy_(source.slice(0, begin, end));
    tensors::release_elements(target, begin, end);
    store.release(name);
  });
}

// Completes `parameters`, which are written into the run's adapter beside its pairs. The new adapter replaces
// the `adapter` that the run started with, so that it needs all parameters that this one holds. Those that
// the run does not train get the stored values, because the decoder may have rounded them.
void take_frozen_parameters(const checkpoint::PeftAdapter& adapter, const TrainedParameters& trained,
                            checkpoint::NamedTensors& parameters) {
  const auto& of_adapter = trained.decoder().of_adapter;
  std::set<std::string> trains, present;
  for (const TrainedParameter& parameter : trained.all()) trains.insert(parameter.name);
  for (auto& [name, tensor] : parameters) {
    present.insert(name);
    const auto source = of_adapter.find(name);
    if (source == of_adapter.end() || trains.count(name) != 0) continue;
    const at::Tensor stored = adapter.load_parameter(source->second);
    if (stored.sizes() == tensor.sizes()) tensor = stored;
  }
  for (const std::string& name : adapter.parameters())
    if (!present.count(name)) parameters.emplace_back(name, adapter.load_parameter(name));
}

}  // namespace

RunDirectory::RunDirectory(const TrainOptions& options, const checkpoint::PeftAdapter* adapter)
    : options_(options),
      adapter_(adapter),
      folder_(options),
      log_(options.output_dir),
      identity_(options.identity()) {
  identity_[kInputs] = input_fingerprints(options_);
  folder_.begin();
}

std::optional<int64_t> RunDirectory::newest_checkpoint() const {
  const auto steps = folder_.checkpoints();
  return steps.empty() ? std::nullopt : std::optional<int64_t>(steps.back());
}

void RunDirectory::check_identity(const Json& saved, const fs::path& source) const {
  const auto changed = differences(saved.value("options", Json::object()), identity_);
  if (!changed.empty())
    throw InputError(
        fmt::format("[{}] expected the options and inputs that this run was started with; changed: {}",
                    source.string(), fmt::join(changed, "; ")));
}

std::optional<RunState> RunDirectory::restore(AdamW& optimizer, const RunState& asked) {
  const auto newest = newest_checkpoint();
  const fs::path source = newest ? folder_.checkpoint_path(*newest) : folder_.path();
  if (!newest && folder_.manifest().files().empty()) return std::nullopt;
  if (!newest && !folder_.has_whole_result())
    throw InputError(
        fmt::format("[{}] expected a checkpoint to resume from, or the whole result of a finished run, got "
                    "neither; start "
                    "anew in another --output_dir",
                    source.string()));
  const fs::path state_path = source / "trainer_state.json";
  const Json json = newest ? read_newest(folder_, [&] { return read_json(state_path); })
                           : folder_.manifest().notes().at(kFinished);
  const RunState state = newest ? read_newest(folder_, [&] { return parse_state(json, state_path); })
                                : parse_state(json, source);
  check_identity(json, source);
  check_data(state, asked);
  if (!newest) {
    if (state.step == asked.max_steps) return state;
    throw InputError(fmt::format(
        "[{}] expected a checkpoint to go on from to step {}, got a run that was finished after {} and whose "
        "checkpoints were removed; train on from its result in another --output_dir with {} {}",
        source.string(), asked.max_steps, state.step,
        options_.low_rank_training ? "--peft_model" : "--model_name_or_path", options_.output_dir.string()));
  }
  check_length(state, asked.max_steps, options_, source);
  read_newest(folder_, [&] {
    const auto store = checkpoint::TensorStore::open_file(source / "optimizer.safetensors");
    for (AdamW::Slot& slot : optimizer.slots())
      for (auto& [name, tensor] : slot.state()) load_state(store, name, tensor);
  });
  optimizer.set_num_steps(state.step);
  return state;
}

Json RunDirectory::state_json(const RunState& state) const {
  return {{"step", state.step},
          {"rows_consumed", state.rows_consumed},
          {"tokens", state.tokens},
          {"seconds", state.seconds},
          {"data_tokens", state.data_tokens},
          {"threads", state.num_threads},
          {"data_fingerprint", state.data_fingerprint},
          {"tile_rows", state.tile_tokens},
          {"loss_chunk_rows", state.loss_chunk_rows},
          {"max_steps", state.max_steps},
          {"options", identity_}};
}

void RunDirectory::save(const RunState& state, AdamW& optimizer, const TrainedParameters& trained) {
  const fs::path path = folder_.checkpoint_path(state.step);
  DirectoryTransaction transaction(path);
  write_model(trained, transaction.staging());
  checkpoint::NamedTensors tensors;
  for (const AdamW::Slot& slot : optimizer.slots())
    for (auto& tensor : slot.state()) tensors.push_back(std::move(tensor));
  checkpoint::write_safetensors(transaction.staging() / "optimizer.safetensors", tensors);
  write_json(transaction.staging() / "trainer_state.json", state_json(state));
  FolderManifest manifest(folder_.manifest().verb());
  for (const std::string& name : files_below(transaction.staging()))
    manifest.add(transaction.staging(), name);
  manifest.write(transaction.staging());
  transaction.commit();
  if (options_.save_total_limit == 0) return;
  const auto steps = folder_.checkpoints();
  for (size_t i = 0; i + options_.save_total_limit < steps.size(); ++i) folder_.remove_checkpoint(steps[i]);
}

bool RunDirectory::is_finished(const RunState& state) const {
  return folder_.has_whole_result() &&
         folder_.manifest().notes().at(kFinished).value("step", int64_t{-1}) == state.step;
}

void RunDirectory::finish(const RunState& state, const TrainedParameters& trained) {
  AddedFiles added(folder_.path(), folder_.manifest(), folder_.manifest().names());
  write_model(trained, added.staging());
  folder_.manifest().notes()[kFinished] = state_json(state);
  added.commit({"config.json", "adapter_config.json"});
  folder_.drop_replaced();
}

void RunDirectory::write_model(const TrainedParameters& trained, const fs::path& directory) const {
  const model::Decoder& decoder = trained.decoder();
  const at::ScalarType dtype = decoder.dtype();
  const auto precise = [&](const model::Parameter& parameter) { return trained.precise(parameter); };
  if (options_.low_rank_training) {
    auto config = options_.lora;
    config.base_model = options_.model_name_or_path.string();
    auto tensors = model::adapter_tensors(decoder, precise);
    if (adapter_ != nullptr) take_frozen_parameters(*adapter_, trained, tensors.parameters);
    checkpoint::write_peft_adapter(directory, config, tensors.lora, tensors.parameters);
    write_json(directory / "config.json",
               model::model_config_json(decoder.config, tensors::dtype_name(dtype)));
  } else {
    model::save_decoder(decoder, directory, dtype, precise);
  }
  write_companions(directory);
}

void RunDirectory::write_companions(const fs::path& directory) const {
  const auto kind =
      options_.low_rank_training ? model::CompanionKind::kAdapter : model::CompanionKind::kModel;
  model::CompanionSources sources;
  if (!options_.init_random) sources.model = options_.model_name_or_path;
  if (options_.tokenizer_path != sources.model) sources.tokenizer = options_.tokenizer_path;
  const auto left_out = model::copy_companion_files(sources, directory, kind);
  if (!std::exchange(told_left_out_, true)) model::log_left_out(left_out, options_.output_dir);
  const auto taught =
      options_.supervised ? std::optional(options_.prompt) : tokenizer::read_taught_form(options_.peft_model);
  if (taught) tokenizer::write_taught_form(directory, *taught);
}

}  // namespace longlora::train
