#include "longlora/model/companion_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

#include "longlora/checkpoint/gguf_config.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/gguf/gguf_model.h"
#include "longlora/tokenizer/chat_template.h"
#include "longlora/tokenizer/prompt_form.h"
#include "longlora/tokenizer/taught_form.h"
#include "longlora/tokenizer/tokenizer.h"
#include "longlora/tokenizer/tokenizer_files.h"

namespace longlora::model {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kLargestBytes = 64U << 20;
constexpr size_t kMostFiles = 1000;  // a subfolder with more files is a data set or an environment

template <size_t N>
bool ends_in_any(std::string_view name, const std::array<std::string_view, N>& ends) {
  return std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return name.ends_with(end); });
}

template <size_t N>
bool is_any(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_weights(std::string_view name) {
  constexpr std::array<std::string_view, 26> kEnds = {
      ".safetensors", ".bin",  ".pt",  ".pth",    ".ckpt",    ".gguf", ".ggml",      ".h5",       ".hdf5",
      ".msgpack",     ".onnx", ".pb",  ".tflite", ".distcp",  ".npy",  ".npz",       ".pkl",      ".pickle",
      ".ot",          ".nemo", ".mar", ".engine", ".mlmodel", ".pte",  ".onnx_data", ".llamafile"};
  constexpr std::array<std::string_view, 2> kNames = {"params.json", "checklist.chk"};
  const bool is_index = name.ends_with(".json") && name.find(".index.") != std::string_view::npos;
  return ends_in_any(name, kEnds) || is_any(name, kNames) || is_index ||
         name.find(".safetensors.") != std::string_view::npos;
}

// Whether a file was left by a run, a data set or a tool and is no part of a model.
bool is_leftover(std::string_view name) {
  constexpr std::array<std::string_view, 15> kEnds = {".jsonl",  ".parquet", ".arrow", ".csv", ".tsv",
                                                      ".tokens", ".log",     ".lock",  ".gz",  ".zst",
                                                      ".xz",     ".zip",     ".tar",   ".tgz", ".pyc"};
  constexpr std::array<std::string_view, 7> kNames = {
      "trainer_state.json", "run.json",          "latest", "zero_to_fp32.py", "all_results.json",
      "eval_results.json",  "train_results.json"};
  return ends_in_any(name, kEnds) || is_any(name, kNames) || name.starts_with("events.out.tfevents");
}

bool is_leftover_folder(std::string_view name) {
  constexpr std::array<std::string_view, 6> kNames = {"runs",        "logs",         "wandb",
                                                      "__pycache__", "node_modules", "mlruns"};
  return is_any(name, kNames) || name.starts_with("checkpoint-") || name.starts_with("global_step");
}

// Whether a file describes the weights; whoever writes the weights writes it.
bool describes_weights(std::string_view name) {
  return name == "config.json" || name == "adapter_config.json";
}

// Whether a file holds weights that the model in `folder` is read from, which are written anew.
bool is_read(const fs::path& folder, std::string_view name) {
  const auto has = [&](const char* stem, const char* end) {
    return fs::exists(folder / (std::string(stem) + end)) ||
           fs::exists(folder / (std::string(stem) + end + ".index.json"));
  };
  if (has("model", ".safetensors"))
    return name == "model.safetensors" || name == "model.safetensors.index.json" ||
           (name.starts_with("model-") && name.ends_with(".safetensors"));
  if (has("pytorch_model", ".bin"))
    return name == "pytorch_model.bin" || name == "pytorch_model.bin.index.json" ||
           (name.starts_with("pytorch_model-") && name.ends_with(".bin"));
  return name.starts_with("adapter_model.") ||
         (name.starts_with("consolidated.") && name.ends_with(".pth")) || name == "params.json" ||
         name == "checklist.chk" || (!fs::exists(folder / "config.json") && name.ends_with(".gguf"));
}

// Whether a file says how text goes in and out, so that an adapter needs it.
bool goes_with_adapter(const std::string& name) {
  return name == "generation_config.json" || name.ends_with("processor_config.json") ||
         name == tokenizer::kTaughtFormFile || tokenizer::is_tokenizer_file(name);
}

// Copies the files of one folder and of its subfolders.
class Copier {
 public:
  Copier(fs::path root, fs::path target, CompanionKind kind, bool with_tokenizer)
      : root_(std::move(root)), target_(std::move(target)), kind_(kind), with_tokenizer_(with_tokenizer) {}

  std::vector<std::string> run() {
    copy_folder({}, 0);
    return std::move(left_out_);
  }

 private:
  void copy_folder(const fs::path& relative, int depth) {
    for (const fs::path& path : list_directory(root_ / relative)) {
      std::error_code ignored;
      const std::string name = path.filename().string();
      const bool is_top = relative.empty();
      if (is_top && describes_weights(name)) continue;
      if (is_top && !with_tokenizer_ && tokenizer::is_tokenizer_file(name)) continue;
      if (kind_ == CompanionKind::kAdapter && is_top && !goes_with_adapter(name)) continue;
      if (is_top && is_read(root_, name)) continue;
      if (fs::is_directory(path, ignored))
        copy_subfolder(path, relative / name, depth);
      else if (may_copy(path, name))
        write_file_atomic(target_ / relative / name, read_file(path));
      else
        left_out_.push_back((relative / name).string());
    }
  }

  static bool may_copy(const fs::path& path, const std::string& name) {
    std::error_code error;
    if (name.starts_with('.') || is_weights(name) || is_leftover(name)) return false;
    // A link is judged by its target. Broken links, pipes and devices are no regular files.
    return fs::is_regular_file(path, error) && fs::file_size(path, error) <= kLargestBytes && !error;
  }

  void copy_subfolder(const fs::path& path, const fs::path& relative, int depth) {
    if (depth >= kDeepest || !may_copy_folder(path)) return left_out_.push_back(relative.string() + "/");
    make_directories(target_ / relative);
    copy_folder(relative, depth + 1);
  }

  // Whether a subfolder may belong to the model: it holds no weights of another format and not too many or
  // too large files. The folder that is written is never copied, nor a folder that holds it or the model's
  // folder, to which a link may lead back.
  bool may_copy_folder(const fs::path& path) const {
    const std::string name = path.filename().string();
    if (name.starts_with('.') || is_leftover_folder(name)) return false;
    std::error_code error;
    const std::string own = fs::weakly_canonical(path, error).string() + "/";
    for (const fs::path& other : {target_, root_})
      if ((fs::weakly_canonical(other, error).string() + "/").starts_with(own)) return false;
    uintmax_t bytes = 0;
    size_t count = 0;
    for (auto entry =
             fs::recursive_directory_iterator(path, fs::directory_options::skip_permission_denied, error);
         !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
      std::error_code ignored;
      if (is_weights(entry->path().filename().string())) return false;
      if (entry->is_regular_file(ignored)) bytes += entry->file_size(ignored);
      if (++count > kMostFiles || bytes > kLargestBytes) return false;
    }
    return !error;
  }

  static constexpr int kDeepest = 8;  // ends a circle of links

  fs::path root_, target_;
  CompanionKind kind_;
  bool with_tokenizer_;
  std::vector<std::string> left_out_;
};

bool brings_tokenizer(const fs::path& path) {
  std::error_code ignored;
  if (path.empty()) return false;
  return fs::is_directory(path, ignored) ? tokenizer::has_tokenizer(path) : fs::exists(path, ignored);
}

void write_gguf_companions(const fs::path& model, const fs::path& to, bool with_tokenizer) {
  if (with_tokenizer) tokenizer::copy_tokenizer_files(model, to);
  const Json settings = checkpoint::gguf_generation_config(gguf::GgufModel::open(model).metadata());
  if (!settings.empty()) write_json(to / "generation_config.json", settings);
}

}  // namespace

std::vector<std::string> copy_companion_files(const CompanionSources& from, const fs::path& to,
                                              CompanionKind kind) {
  std::vector<std::string> left_out;
  const bool other_tokenizer = brings_tokenizer(from.tokenizer);
  const auto gguf_model = gguf::find_model(from.model);
  if (gguf_model) write_gguf_companions(*gguf_model, to, !other_tokenizer);
  if (fs::is_directory(from.model)) left_out = Copier(from.model, to, kind, !other_tokenizer).run();
  if (other_tokenizer) {
    tokenizer::copy_tokenizer_files(from.tokenizer, to);
    // A tokenizer that was saved without a chat template still belongs to a model that has one.
    if (!from.model.empty() && tokenizer::read_chat_template(from.tokenizer).empty())
      tokenizer::copy_chat_templates(from.model, to);
  }
  if (const auto taught = tokenizer::read_taught_form(from.tokenizer))
    tokenizer::write_taught_form(to, *taught);
  return left_out;
}

void log_left_out(const std::vector<std::string>& left_out, const fs::path& to) {
  constexpr size_t kMost = 20;
  if (left_out.empty()) return;
  const size_t shown = std::min(left_out.size(), kMost);
  log_info(
      fmt::format("left out of {}: {}{}", to.string(),
                  fmt::join(left_out.begin(), left_out.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                  shown < left_out.size() ? fmt::format(" and {} more", left_out.size() - shown) : ""));
}

}  // namespace longlora::model
