#include "longlora/gguf/gguf_model.h"

#include <fmt/format.h>

#include <array>
#include <fstream>
#include <string>

#include "longlora/core/error.h"

namespace longlora::gguf {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostParts = 99999;  // their numbers have five digits

std::string part_end(int64_t part, int64_t num_parts) {
  return fmt::format("-{:05}-of-{:05}.gguf", part, num_parts);
}

bool begins_as_gguf(const fs::path& file) {
  std::array<char, 4> start = {};
  std::ifstream(file, std::ios::binary).read(start.data(), start.size());
  return is_gguf({start.data(), start.size()});
}

// Whether a name is that of a part behind the first.
bool is_later_part(const std::string& name) {
  const size_t of = name.rfind("-of-");
  return of != std::string::npos && of >= 6 && name[of - 6] == '-' && name.compare(of - 5, 5, "00001") != 0;
}

}  // namespace

std::optional<fs::path> find_model(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) return begins_as_gguf(path) ? std::optional(path) : std::nullopt;
  if (!fs::is_directory(path, ignored) || fs::exists(path / "config.json", ignored)) return std::nullopt;
  std::optional<fs::path> found;
  for (const fs::path& entry : list_directory(path)) {
    if (entry.extension() != ".gguf" || is_later_part(entry.filename().string())) continue;
    if (found)
      throw InputError(fmt::format("[{}] expected one model, got the GGUF files {} and {}; name one of them",
                                   path.string(), found->filename().string(), entry.filename().string()));
    found = entry;
  }
  return found;
}

GgufModel GgufModel::open(const fs::path& path) {
  constexpr const char *kCount = "split.count", *kPart = "split.no";
  auto file = std::make_shared<const MappedFile>(path);
  GgufFile first = parse_gguf(file->text(), path.string());
  const int64_t num_parts = first.metadata.integer(kCount).value_or(1);
  GgufModel model;
  if (num_parts <= 1) {
    model.files_.push_back(std::move(file));
    model.tensors_.push_back(std::move(first.tensors));
    model.metadata_ = std::move(first.metadata);
    return model;
  }
  const int64_t own = first.metadata.integer(kPart).value_or(0) + 1;
  const std::string name = path.filename().string();
  if (num_parts > kMostParts || own < 1 || own > num_parts || !name.ends_with(part_end(own, num_parts)))
    throw InputError(fmt::format(
        "[{}] expected part {} of {} under a name that ends in {}, by which the others are found, got "
        "another; give the file its name back",
        path.string(), own, num_parts, part_end(own, num_parts)));
  const std::string stem = name.substr(0, name.size() - part_end(own, num_parts).size());
  for (int64_t part = 1; part <= num_parts; ++part) {
    const fs::path part_path = path.parent_path() / (stem + part_end(part, num_parts));
    model.files_.push_back(std::make_shared<const MappedFile>(part_path));
    GgufFile parsed = parse_gguf(model.files_.back()->text(), part_path.string());
    if (parsed.metadata.integer(kCount) != num_parts || parsed.metadata.integer(kPart) != part - 1)
      throw InputError(fmt::format("[{}] expected part {} of {} inside, got another", part_path.string(),
                                   part, num_parts));
    model.tensors_.push_back(std::move(parsed.tensors));
    if (part == 1) model.metadata_ = std::move(parsed.metadata);
  }
  return model;
}

}  // namespace longlora::gguf
