#include "longlora/eval/open_data.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "longlora/core/log.h"

namespace longlora::eval {

namespace fs = std::filesystem;

std::unique_ptr<data::TokenData> open_data(const std::vector<fs::path>& paths, const fs::path& tokenizer_path,
                                           const generate::Runtime& runtime, data::TokenDataOptions reading) {
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  bool all_ids = true;
  for (const fs::path& path : paths) all_ids = all_ids && path.extension() == ".bin";
  // Ids need no tokenizer; where there is one, it tells whether they are its own.
  if (!all_ids || tokenizer::has_tokenizer(tokenizer_path))
    tokenizer = tokenizer::load_tokenizer(tokenizer_path);
  reading.vocab_size = runtime.vocab_size;
  reading.tokenizer = tokenizer.get();
  reading.num_threads = at::get_num_threads();
  auto data = data::open_token_data(paths, reading);
  log_info(fmt::format("data: {}", data->describe()));
  return data;
}

}  // namespace longlora::eval
