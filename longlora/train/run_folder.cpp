#include "longlora/train/run_folder.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/file_operations.h"
#include "longlora/core/log.h"
#include "longlora/core/output_folder.h"

namespace longlora::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCheckpointPrefix = "checkpoint-";
constexpr const char* kReplacedPrefix = "replaced-run-";
constexpr const char* kRemoved = "removed";
constexpr const char* kFlag = "--output_dir";

std::optional<int64_t> number_behind(const std::string& prefix, const fs::path& path) {
  const std::string name = path.filename().string();
  if (!name.starts_with(prefix)) return std::nullopt;
  const char *begin = name.data() + prefix.size(), *end = name.data() + name.size();
  int64_t number = 0;
  const auto parsed = std::from_chars(begin, end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end || number < 0) return std::nullopt;
  return number;
}

bool is_marked(const fs::path& folder) {
  return fs::exists(folder / FolderManifest::kName);
}

// Whether a run of this program wrote the checkpoint. Old versions wrote no marker; their checkpoints are
// recognised by the state.
bool is_own_checkpoint(const fs::path& folder) {
  if (is_marked(folder)) return true;
  try {
    return read_json(folder / "trainer_state.json").contains("rows_consumed");
  } catch (const Error&) {
    return false;
  }
}

// Returns the logs of a run that are there, by their names relative to its folder.
std::vector<std::string> logs_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const char* name : {"train_log.jsonl", "run.json"})
    if (fs::is_regular_file(folder / name)) names.emplace_back(name);
  if (!fs::is_directory(folder / "runs")) return names;
  for (const fs::path& path : list_directory(folder / "runs"))
    if (path.filename().string().starts_with("events.out.tfevents.") && fs::is_regular_file(path))
      names.push_back("runs/" + path.filename().string());
  return names;
}

// Tidies what a killed run left: removes half-written and half-removed checkpoints, and restores one that was
// about to be replaced.
void clear_leftovers(const fs::path& folder) {
  for (const fs::path& path : list_directory(folder)) {
    const std::string name = path.filename().string();
    if (!name.starts_with(std::string(".") + kCheckpointPrefix) &&
        !name.starts_with(std::string(".") + AddedFiles::kStagingName))
      continue;
    const size_t end = name.find('.', 1);
    if (end == std::string::npos) continue;
    if (name.substr(end + 1).starts_with(kRemoved))
      remove_tree(path);
    else
      // Opening a transaction repairs and tidies its path.
      DirectoryTransaction(folder / name.substr(1, end - 1));
  }
}

bool is_run(const FolderManifest& manifest) {
  return manifest.verb() == "fine-tune" || manifest.verb() == "sft";
}

// Removes a run that was set aside: its checkpoints, which have markers of their own, and the files that its
// own marker lists. Returns the error number of the first file that could not be removed, or 0.
int remove_replaced_run(const fs::path& folder) {
  int first_error = 0;
  for (const fs::path& path : list_directory(folder))
    if (number_behind(kCheckpointPrefix, path))
      if (const int error_number = remove_own_files(path); first_error == 0) first_error = error_number;
  const int error_number = remove_own_files(folder);
  return first_error == 0 ? error_number : first_error;
}

void move_into(const fs::path& from, const fs::path& to) {
  make_directories(to.parent_path());
  if (::rename(from.c_str(), to.c_str()) != 0) throw write_error(from, "set it aside", errno);
}

UsageError refusal(const fs::path& folder, const std::string& expected, const std::string& got) {
  return UsageError(fmt::format("[{} {}] expected {}, got {}", kFlag, folder.string(), expected, got));
}

}  // namespace

std::vector<NamedPath> run_inputs(const TrainOptions& options) {
  std::vector<NamedPath> inputs = {{"--model_name_or_path", options.model_name_or_path},
                                   {"--peft_model", options.peft_model},
                                   {"--config", options.config_file},
                                   {"--tokenizer", options.tokenizer_path}};
  for (const fs::path& path : options.data_path) inputs.push_back({"--data_path", path});
  for (const fs::path& path : options.eval_data_path) inputs.push_back({"--eval_data_path", path});
  return inputs;
}

RunFolder::RunFolder(const TrainOptions& options)
    : verb_(options.supervised ? "sft" : "fine-tune"),
      manifest_(verb_),
      overwrites_(options.overwrite_output_dir && !options.resume) {
  const NamedPath output = {kFlag, options.output_dir};
  require_apart(output, run_inputs(options));
  path_ = resolve_output(output).whole();
  lock_ = lock_folder(kFlag, path_);
  if (const auto found = FolderManifest::read(path_)) {
    manifest_ = *found;
    is_marked_ = true;
  }
  check_holdings(options);
  const AtomicFileWriter probe(path_ / FolderManifest::kName);  // throws where the folder cannot be written
}

bool RunFolder::is_occupied() const {
  return !manifest_.files().empty() || !checkpoints().empty();
}

void RunFolder::check_holdings(const TrainOptions& options) const {
  for (const int64_t step : checkpoints())
    if (!is_own_checkpoint(checkpoint_path(step)))
      throw refusal(path_, "a folder without checkpoints of other programs",
                    fmt::format("one that holds {}{}; choose another path", kCheckpointPrefix, step));
  if (!is_marked_) return check_unmarked(options);
  if (options.resume && !is_run(manifest_))
    throw refusal(path_, "the folder of a run to resume",
                  fmt::format("one that holds what {} wrote; choose another path", manifest_.verb()));
  if (options.resume || !is_occupied()) return;
  if (overwrites_) {
    std::vector<std::string> changed;
    for (const auto& [name, fingerprint] : manifest_.files())
      if (fs::exists(path_ / name) && !manifest_.owns(path_, name)) changed.push_back(name);
    for (const int64_t step : checkpoints())
      if (!is_marked(checkpoint_path(step))) changed.push_back(checkpoint_path(step).filename().string());
    if (changed.empty()) return;
    throw refusal(
        path_, "a run as it was written, with a list of its files",
        fmt::format("another content in {}; it is not replaced: move it away or choose another path",
                    list_names(changed)));
  }
  const auto steps = checkpoints();
  if (!steps.empty())
    throw UsageError(
        fmt::format("[{}] expected a directory without checkpoints, found {}{}; add --resume to go on with "
                    "that run, or --overwrite_output_dir True to discard it",
                    options.output_dir.string(), kCheckpointPrefix, steps.back()));
  throw refusal(path_, "a new or empty directory",
                fmt::format("one that holds the finished result of {}; choose another path, or add "
                            "--overwrite_output_dir True to replace it when the new result is complete",
                            manifest_.verb()));
}

// Checks a folder without a marker. It may be empty, or hold a run of a version that wrote no marker, which
// can be resumed.
void RunFolder::check_unmarked(const TrainOptions& options) const {
  std::vector<std::string> names;
  for (const fs::path& path : list_directory(path_))
    if (!is_temporary_name(path.filename().string())) names.push_back(path.filename().string());
  if (names.empty()) return;
  const auto steps = checkpoints();
  if (steps.empty())
    throw refusal(
        path_, "a new or empty directory",
        fmt::format("one that holds {}, which is not listed as written by longlora; nothing of that "
                    "is replaced: choose another path, or move it away",
                    list_names(names)));
  if (options.resume) return;
  throw UsageError(
      fmt::format("[{}] expected a directory without checkpoints, found {}{} of a version that did not list "
                  "its files; add "
                  "--resume to go on with that run, or remove the folder yourself to discard it",
                  options.output_dir.string(), kCheckpointPrefix, steps.back()));
}

void RunFolder::begin() {
  clear_leftovers(path_);
  if (overwrites_ && is_occupied()) set_aside();
  if (is_occupied()) return;  // the run is resumed
  manifest_ = FolderManifest(verb_);
  keep_manifest();
}

void RunFolder::set_aside() {
  int64_t number = 1;
  while (fs::exists(path_ / fmt::format("{}{}", kReplacedPrefix, number))) ++number;
  const fs::path aside = path_ / fmt::format("{}{}", kReplacedPrefix, number);
  make_directories(aside);
  // The marker is moved first, so that wherever this is interrupted, the moved files are known to be this
  // program's.
  if (is_run(manifest_))
    for (const std::string& name : logs_in(path_)) manifest_.add(path_, name);
  manifest_.write(aside);
  std::vector<std::string> names = {"adapter_config.json",
                                    "config.json"};  // without these the rest is no model
  for (const auto& [name, fingerprint] : manifest_.files()) names.push_back(name);
  for (const std::string& name : names)
    if (manifest_.owns(path_, name)) move_into(path_ / name, aside / name);
  for (const int64_t step : checkpoints())
    if (is_marked(checkpoint_path(step)))
      move_into(checkpoint_path(step), aside / checkpoint_path(step).filename());
  ::rmdir((path_ / "runs").c_str());  // fails where anything else is in it
  sync_directory(path_);
  manifest_.clear();
  log_info(fmt::format("the earlier run in {} is kept in {} until this one is finished", path_.string(),
                       aside.filename().string()));
}

void RunFolder::drop_replaced() const {
  for (const fs::path& path : list_directory(path_)) {
    if (!number_behind(kReplacedPrefix, path)) continue;
    const bool is_nothing = !is_marked(path) && files_below(path).empty();  // an interrupted move
    if (!is_marked(path) && !is_nothing) continue;
    const int error_number = is_nothing ? remove_tree(path) : remove_replaced_run(path);
    if (error_number != 0)
      log_warning(write_error(path, "remove a replaced run", error_number).what());
    else if (fs::exists(path))
      log_warning(fmt::format("{} stays: it holds {}, which no run wrote there", path.string(),
                              list_names(strangers_in(path))));
  }
}

bool RunFolder::has_whole_result() const {
  if (!manifest_.notes().is_object() || !manifest_.notes().contains("finished") || manifest_.files().empty())
    return false;
  return std::all_of(manifest_.files().begin(), manifest_.files().end(),
                     [&](const auto& file) { return manifest_.owns(path_, file.first); });
}

fs::path RunFolder::checkpoint_path(int64_t step) const {
  return path_ / fmt::format("{}{}", kCheckpointPrefix, step);
}

std::vector<int64_t> RunFolder::checkpoints() const {
  std::vector<int64_t> steps;
  for (const fs::path& path : list_directory(path_))
    if (const auto step = number_behind(kCheckpointPrefix, path); step && fs::is_directory(path))
      steps.push_back(*step);
  std::sort(steps.begin(), steps.end());
  return steps;
}

void RunFolder::remove_checkpoint(int64_t step) const {
  const fs::path path = checkpoint_path(step);
  const auto strangers =
      is_marked(path) ? strangers_in(path) : std::vector<std::string>{"no list of its files"};
  if (!strangers.empty())
    return log_warning(
        fmt::format("{} stays beyond --save_total_limit: it holds {}", path.string(), list_names(strangers)));
  const fs::path aside = sibling_name(path, kRemoved);
  std::error_code error;
  fs::rename(path, aside, error);
  if (error) throw write_error(path, "remove an old checkpoint", error.value());
  const int error_number = remove_tree(aside);
  if (error_number != 0) log_warning(write_error(path, "remove an old checkpoint", error_number).what());
}

}  // namespace longlora::train
