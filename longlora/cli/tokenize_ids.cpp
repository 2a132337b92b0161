#include "longlora/cli/tokenize_ids.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <optional>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "longlora/data/data_file.h"
#include "longlora/data/run_parallel.h"
#include "longlora/data/token_file.h"

namespace longlora::cli {
namespace {

using tokenizer::Ids;

// A text or a file that the command line gives.
struct Input {
  std::string name;  // "--text", or the file's path
  std::filesystem::path path;
  std::string text;
};

std::vector<Input> list_inputs(const TokenizeIdsArguments& arguments) {
  std::vector<Input> inputs;
  for (const std::string& text : arguments.texts) inputs.push_back({"--text", {}, text});
  for (const auto& path : arguments.inputs) inputs.push_back({path.string(), path, {}});
  if (inputs.empty()) throw UsageError("[tokenize] expected --text or --input, got neither");
  return inputs;
}

std::string content_of(const Input& input) {
  return input.path.empty() ? input.text : data::read_text(input.path);
}

std::string format_ids(const Ids& ids) {
  std::string text = "[";
  for (const int32_t id : ids) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(id);
  }
  return text + "]";
}

// Writes bytes, which may be zero, to standard output in one piece.
void print_bytes(const std::string& bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size() || std::fflush(stdout) != 0)
    throw ResourceError("[standard output] expected to write the result, got an error; is the disk full?");
}

// Writes the lists into a JSON file. A single list is also at its top.
void write_results(const std::filesystem::path& path, const char* key, const std::vector<Input>& inputs,
                   std::vector<Json> values) {
  if (path.empty()) return;
  Json json{{"verb", "tokenize"}};
  if (values.size() == 1) json[key] = values[0];
  json["inputs"] = Json::array();
  for (size_t i = 0; i < inputs.size(); ++i)
    json["inputs"].push_back(Json{{"input", inputs[i].name}, {key, std::move(values[i])}});
  write_file_atomic(path, json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

Ids parse_ids(const std::string& text, const std::string& name) {
  constexpr const char* kSeparators = " \t\r\n,[]";
  Ids ids;
  for (size_t at = text.find_first_not_of(kSeparators); at != std::string::npos;
       at = text.find_first_not_of(kSeparators, at)) {
    const size_t end = std::min(text.find_first_of(kSeparators, at), text.size());
    int32_t id = 0;
    const auto [stop, error] = std::from_chars(text.data() + at, text.data() + end, id);
    if (error != std::errc{} || stop != text.data() + end || id < 0) {
      throw InputError(fmt::format("[{}] expected ids like \"[1, 2, 3]\" to decode, got \"{}\"", name,
                                   text.substr(at, std::min<size_t>(end - at, 40))));
    }
    ids.push_back(id);
    at = end;
  }
  return ids;
}

// Returns the lists of ids in a file that --ids --json wrote.
std::vector<Ids> ids_of_json(const Json& json, const std::string& name) {
  std::vector<Ids> lists;
  try {
    if (!json.contains("inputs")) {
      lists.push_back(json.at("ids").get<Ids>());
    } else {
      for (const Json& input : json.at("inputs")) lists.push_back(input.at("ids").get<Ids>());
    }
  } catch (const Json::exception&) {
    throw InputError(
        fmt::format("[{}] expected \"ids\" as tokenize --ids --json writes them, got something else", name));
  }
  return lists;
}

Ids ids_of_token_file(const std::filesystem::path& path, int64_t vocab_size,
                      std::optional<data::IdType> bin_type) {
  const data::TokenFile file(path, data::read_token_file_info(path), vocab_size, bin_type);
  std::vector<int64_t> wide(static_cast<size_t>(file.size()));
  file.read(0, wide);
  return {wide.begin(), wide.end()};
}

std::vector<Ids> ids_of(const Input& input, int64_t vocab_size, std::optional<data::IdType> bin_type) {
  if (!input.path.empty() && data::lower_extension(input.path) == ".bin")
    return {ids_of_token_file(input.path, vocab_size, bin_type)};
  const std::string content = content_of(input);
  const size_t first = content.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && content[first] == '{')
    return ids_of_json(parse_json(content, input.name), input.name);
  return {parse_ids(content, input.name)};
}

}  // namespace

void print_ids(const tokenizer::Tokenizer& tokenizer, const TokenizeIdsArguments& arguments) {
  const std::vector<Input> inputs = list_inputs(arguments);
  std::vector<Ids> results(inputs.size());
  data::run_parallel(inputs.size(), arguments.num_threads, [&](size_t i) {
    results[i] = tokenizer.encode(content_of(inputs[i]), arguments.add_special_tokens);
  });
  std::string lines;
  for (const Ids& ids : results) lines += format_ids(ids) + "\n";
  print_bytes(lines);
  write_results(arguments.json, "ids", inputs, {results.begin(), results.end()});
}

void print_texts(const tokenizer::Tokenizer& tokenizer, const TokenizeIdsArguments& arguments) {
  std::vector<Input> inputs;
  std::vector<Json> texts;
  std::string all;
  for (const Input& input : list_inputs(arguments)) {
    for (const Ids& ids :
         ids_of(input, tokenizer.vocab_size(), data::id_type_from_choice(arguments.bin_dtype))) {
      const std::string text =
          arguments.skip_special_tokens ? tokenizer.decode(ids) : tokenizer.decode_with_special_tokens(ids);
      all += text;
      if (arguments.output.empty()) all += '\n';
      inputs.push_back(input);
      texts.emplace_back(text);
    }
  }
  if (arguments.output.empty())
    print_bytes(all);
  else
    write_file_atomic(arguments.output, all);
  write_results(arguments.json, "text", inputs, std::move(texts));
}

}  // namespace longlora::cli
