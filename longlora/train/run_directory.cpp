#include "longlora/train/run_directory.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <set>
#include <utility>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/file_internal.h"
#include "longlora/core/log.h"
#include "longlora/model/adapter.h"
#include "longlora/model/companion_files.h"
#include "longlora/model/load.h"
#include "longlora/ops/disk_tensor.h"
#include "longlora/tokenizer/taught_form.h"

namespace longlora::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCheckpointPrefix = "checkpoint-";
constexpr const char* kRemoved = "removed";

std::optional<int64_t> checkpoint_step(const fs::path& path) {
  const std::string name = path.filename().string();
  if (!name.starts_with(kCheckpointPrefix)) return std::nullopt;
  const char* begin = name.data() + std::string_view(kCheckpointPrefix).size();
  const char* end = name.data() + name.size();
  int64_t step = 0;
  const auto parsed = std::from_chars(begin, end, step);
  if (parsed.ec != std::errc() || parsed.ptr != end || step < 0) return std::nullopt;
  return step;
}

RunState parse_state(const Json& json, const fs::path& path) {
  try {
    return {.step = json.at("step").get<int64_t>(),
            .rows_consumed = json.at("rows_consumed").get<int64_t>(),
            .tokens = json.at("tokens").get<int64_t>(),
            .seconds = json.at("seconds").get<double>(),
            .data_tokens = json.value("data_tokens", int64_t{0}),
            .num_threads = json.value("threads", int64_t{0}),
            .data_fingerprint = json.value("data_fingerprint", std::string()),
            .tile_rows = json.value("tile_rows", int64_t{-1}),
            .loss_chunk_rows = json.value("loss_chunk_rows", int64_t{0})};
  } catch (const Json::exception& error) {
    throw InputError(fmt::format(
        "[{}] expected the state of a run, got: {}; remove this checkpoint to resume from the one before",
        path.string(), error.what()));
  }
}

/// Removes a checkpoint so that a kill in between leaves no half of it under its name.
void remove_checkpoint(const fs::path& path) {
  const fs::path aside = internal::sibling_name(path, kRemoved);
  std::error_code error;
  fs::rename(path, aside, error);
  if (error) throw internal::write_error(path, "remove an old checkpoint", error.value());
  const int error_number = internal::remove_tree(aside);
  if (error_number != 0)
    log_warning(internal::write_error(path, "remove an old checkpoint", error_number).what());
}

/// What a killed run left aside: half-written and half-removed checkpoints go, one that
/// was about to be replaced comes back.
void clear_leftovers(const fs::path& output_dir) {
  for (const fs::path& path : list_directory(output_dir)) {
    const std::string name = path.filename().string();
    if (!name.starts_with(std::string(".") + kCheckpointPrefix)) continue;
    const size_t end = name.find('.', 1);
    if (end == std::string::npos) continue;
    if (name.substr(end + 1).starts_with(kRemoved))
      internal::remove_tree(path);
    else
      DirectoryTransaction(output_dir / name.substr(1, end - 1));  // opening one repairs and tidies its path
  }
}

/// Names of options that differ between two identities; one that an older version did not record yet is not
/// held against the run.
std::vector<std::string> differences(const Json& saved, const Json& asked) {
  std::vector<std::string> names;
  for (const auto& [name, value] : asked.items())
    if (saved.contains(name) && saved[name] != value)
      names.push_back(fmt::format("{} (was {}, now {})", name, saved[name].dump(), value.dump()));
  return names;
}

/// Fills a tensor of the optimizer; one on disk becomes resident a piece at a time.
void load_state(const checkpoint::TensorStore& store, const std::string& name, const at::Tensor& tensor) {
  if (!ops::is_on_disk(tensor) || !store.can_view(name, tensor.scalar_type()))
    return ops::copy_by_pieces(tensor, store.load(name, tensor.sizes(), tensor.scalar_type()));
  const at::Tensor source = store.view(name, tensor.sizes()).view(-1), target = tensor.view(-1);
  ops::for_each_disk_piece(target.numel(), [&](int64_t begin, int64_t end) {
    target.slice(0, begin, end).copy_(source.slice(0, begin, end));
    ops::release_elements(target, begin, end);
    store.release(name);
  });
}

/// Adds what the adapter that the run goes on from had trained and this run leaves as it was: the new adapter
/// takes the place of the old one.
void add_frozen_parameters(const fs::path& peft_model, checkpoint::NamedTensors& parameters) {
  std::set<std::string> present;
  for (const auto& [name, tensor] : parameters) present.insert(name);
  const auto adapter = checkpoint::PeftAdapter::open(peft_model);
  for (const std::string& name : adapter.parameters())
    if (!present.count(name)) parameters.emplace_back(name, adapter.load_parameter(name));
}

/// Removes what write_model writes: weights, adapter and their descriptions.
void remove_result(const fs::path& output_dir) {
  for (const fs::path& path : list_directory(output_dir)) {
    const std::string name = path.filename().string();
    const bool is_weights = name == "adapter_model.safetensors" || name == "trainable_params.safetensors" ||
                            (name.starts_with("model") && name.ends_with(".safetensors")) ||
                            name == "model.safetensors.index.json";
    if (!is_weights && name != "adapter_config.json" && name != "config.json") continue;
    const int error_number = internal::remove_tree(path);
    if (error_number != 0) throw internal::write_error(path, "remove an earlier result", error_number);
  }
}

}  // namespace

RunDirectory::RunDirectory(const TrainOptions& options) : options_(options) {
  const bool existed = fs::exists(options.output_dir);
  make_directories(options.output_dir);
  clear_leftovers(options.output_dir);
  if (existed && !checkpoints().empty() && !options.resume && !options.overwrite_output_dir)
    throw UsageError(
        fmt::format("[{}] expected a directory without checkpoints, found {}{}; add --resume to go on with "
                    "that run, or --overwrite_output_dir True to discard it",
                    options.output_dir.string(), kCheckpointPrefix, *newest_checkpoint()));
  if (!options.overwrite_output_dir || options.resume) return;
  remove_result(options.output_dir);
  for (const int64_t step : checkpoints()) remove_checkpoint(checkpoint_path(step));
}

fs::path RunDirectory::checkpoint_path(int64_t step) const {
  return options_.output_dir / fmt::format("{}{}", kCheckpointPrefix, step);
}

std::vector<int64_t> RunDirectory::checkpoints() const {
  std::vector<int64_t> steps;
  for (const fs::path& path : list_directory(options_.output_dir))
    if (const auto step = checkpoint_step(path); step && fs::is_directory(path)) steps.push_back(*step);
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::optional<int64_t> RunDirectory::newest_checkpoint() const {
  const auto steps = checkpoints();
  return steps.empty() ? std::nullopt : std::optional<int64_t>(steps.back());
}

std::optional<RunState> RunDirectory::restore(AdamW& optimizer) {
  const auto newest = newest_checkpoint();
  if (!newest) return std::nullopt;
  const fs::path directory = checkpoint_path(*newest);
  const Json json = read_json(directory / "trainer_state.json");
  const RunState state = parse_state(json, directory / "trainer_state.json");
  const auto changed = differences(json.value("options", Json::object()), options_.identity());
  if (!changed.empty())
    throw InputError(fmt::format("[{}] expected the options that this run was started with; changed: {}",
                                 directory.string(), fmt::join(changed, "; ")));
  const auto store = checkpoint::TensorStore::open_file(directory / "optimizer.safetensors");
  for (AdamW::Slot& slot : optimizer.slots())
    for (auto& [name, tensor] : slot.state()) load_state(store, name, tensor);
  optimizer.set_num_steps(state.step);
  return state;
}

void RunDirectory::save(const RunState& state, AdamW& optimizer, const model::Decoder& decoder) {
  DirectoryTransaction transaction(checkpoint_path(state.step));
  write_model(decoder, transaction.staging());
  checkpoint::NamedTensors tensors;
  for (const AdamW::Slot& slot : optimizer.slots())
    for (auto& tensor : slot.state()) tensors.push_back(std::move(tensor));
  checkpoint::write_safetensors(transaction.staging() / "optimizer.safetensors", tensors);
  write_json(transaction.staging() / "trainer_state.json", {{"step", state.step},
                                                            {"rows_consumed", state.rows_consumed},
                                                            {"tokens", state.tokens},
                                                            {"seconds", state.seconds},
                                                            {"data_tokens", state.data_tokens},
                                                            {"threads", state.num_threads},
                                                            {"data_fingerprint", state.data_fingerprint},
                                                            {"tile_rows", state.tile_rows},
                                                            {"loss_chunk_rows", state.loss_chunk_rows},
                                                            {"options", options_.identity()}});
  transaction.commit();
  if (options_.save_total_limit == 0) return;
  const auto steps = checkpoints();
  for (size_t i = 0; i + options_.save_total_limit < steps.size(); ++i)
    remove_checkpoint(checkpoint_path(steps[i]));
}

void RunDirectory::write_model(const model::Decoder& decoder, const fs::path& directory) const {
  const at::ScalarType dtype = decoder.dtype();
  if (options_.low_rank_training) {
    auto config = options_.lora;
    config.base_model = options_.model_name_or_path.string();
    auto tensors = model::adapter_tensors(decoder);
    if (!options_.peft_model.empty()) add_frozen_parameters(options_.peft_model, tensors.parameters);
    checkpoint::write_peft_adapter(directory, config, tensors.lora, tensors.parameters);
    write_json(directory / "config.json", model::model_config_json(decoder.config, model::dtype_name(dtype)));
  } else {
    model::save_decoder(decoder, directory, dtype);
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

void RunDirectory::log(const Json& line) {
  const fs::path path = options_.output_dir / "train_log.jsonl";
  std::error_code missing, ignored;
  const auto size = fs::file_size(path, missing);
  errno = 0;
  std::ofstream file(path, std::ios::app | std::ios::binary);
  file << line.dump() << '\n';
  file.close();
  if (file) return;
  const int error_number = errno;
  fs::resize_file(path, missing ? 0 : size, ignored);  // no half of a line stays
  throw internal::write_error(path, "write a line", error_number);
}

void RunDirectory::truncate_log(int64_t step) {
  const fs::path path = options_.output_dir / "train_log.jsonl";
  if (!fs::exists(path)) return;
  std::string kept;
  const std::string text = read_file(path);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // a line cut off by a kill
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && json.value("step", int64_t{0}) <= step) kept += line + "\n";
  }
  write_file_atomic(path, kept);
}

}  // namespace longlora::train
