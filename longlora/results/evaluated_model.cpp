#include "longlora/results/evaluated_model.h"

#include <filesystem>

namespace longlora::results {
namespace {

// "tuned" for "runs/tuned" and for "runs/tuned/".
std::string folder_name(const std::filesystem::path& path) {
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

}  // namespace

std::string EvaluatedModel::name() const {
  if (label && !label->empty()) return *label;
  const std::string adapter = folder_name(peft_model.value_or(""));
  return adapter.empty() ? folder_name(model) : adapter;
}

}  // namespace longlora::results
