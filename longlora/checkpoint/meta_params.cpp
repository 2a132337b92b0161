#include "longlora/checkpoint/meta_params.h"

#include <fmt/core.h>

#include "longlora/core/error.h"
#include "longlora/core/json.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kLargestSize = int64_t{1} << 31;
constexpr int64_t kMostLayers = 1 << 16;
constexpr double kLargestMultiplier = 1e4;  // times kLargestSize this is far below 2^63

[[noreturn]] void fail(const fs::path& source, const std::string& expected, const std::string& got) {
  throw InputError(fmt::format("[{}] expected {}, got {}", source.string(), expected, got));
}

// Reads members of params.json and checks them.
class Reader {
 public:
  Reader(const Json& json, const fs::path& source) : json_(json), source_(source) {}
  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  int64_t size(const char* key) const {
    if (!has(key)) fail(source_, fmt::format("\"{}\"", key), "no such setting");
    const Json& value = json_[key];
    if (!value.is_number_integer() || value < 1 || value > kLargestSize)
      fail(source_, fmt::format("a positive size for \"{}\"", key), value.dump());
    return value.get<int64_t>();
  }
  int64_t size(const char* key, int64_t otherwise) const {
    return has(key) && json_[key] != -1 ? size(key) : otherwise;
  }
  double number(const char* key, double otherwise, double most = 1e12) const {
    if (!has(key)) return otherwise;
    const Json& value = json_[key];
    if (!value.is_number() || !(value.get<double>() > 0.0) || value.get<double>() > most)
      fail(source_, fmt::format("a number above 0, of at most {}, for \"{}\"", most, key), value.dump());
    return value.get<double>();
  }
  bool flag(const char* key) const {
    if (has(key) && !json_[key].is_boolean())
      fail(source_, fmt::format("true or false for \"{}\"", key), json_[key].dump());
    return has(key) && json_[key].get<bool>();
  }

 private:
  const Json& json_;
  const fs::path& source_;
};

}  // namespace

int64_t MetaParams::feed_forward_size() const {
  if (multiple_of == 0) return 0;
  const int64_t two_thirds =
      8 * dim / 3;  // two thirds of 4 dim, rounded down before the multiplier as in Meta's code
  const auto width = static_cast<int64_t>(ffn_dim_multiplier * static_cast<double>(two_thirds));
  return (width + multiple_of - 1) / multiple_of * multiple_of;
}

MetaParams parse_meta_params(const std::string& text, const fs::path& path) {
  const Json json = parse_json(text, path.string());
  if (!json.is_object()) fail(path, "a JSON object", json.type_name());
  const Reader reader(json, path);
  MetaParams params;
  params.dim = reader.size("dim");
  params.n_layers = reader.size("n_layers");
  params.n_heads = reader.size("n_heads");
  params.n_kv_heads = reader.size("n_kv_heads", params.n_heads);
  params.vocab_size = reader.size("vocab_size", -1);
  params.multiple_of = reader.size("multiple_of", 0);
  params.ffn_dim_multiplier = reader.number("ffn_dim_multiplier", 1.0, kLargestMultiplier);
  params.norm_eps = reader.number("norm_eps", 1e-5);
  params.rope_theta = reader.number("rope_theta", 10000.0);
  params.use_scaled_rope = reader.flag("use_scaled_rope");
  params.rope_scale_factor = reader.number("rope_scale_factor", 8.0);
  params.max_seq_len = reader.size("max_seq_len", 0);
  if (params.n_layers > kMostLayers)
    fail(path, fmt::format("at most {} layers", kMostLayers), std::to_string(params.n_layers));
  if (params.dim % params.n_heads != 0 || params.dim / params.n_heads % 2 != 0 ||
      params.n_heads % params.n_kv_heads != 0)
    fail(path, "dim, n_heads and n_kv_heads that divide into heads of an even size",
         fmt::format("{}, {} and {}", params.dim, params.n_heads, params.n_kv_heads));
  for (const char* key : {"moe", "vision_chunk_size", "sliding_window"})
    if (reader.has(key))
      fail(path, "a Llama text model",
           fmt::format("\"{}\", which is not supported; use the model in Hugging Face's layout", key));
  return params;
}

}  // namespace longlora::checkpoint
