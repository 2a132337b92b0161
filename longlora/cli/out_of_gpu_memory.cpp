#include "longlora/cli/out_of_gpu_memory.h"

#include <fmt/format.h>

namespace longlora::cli {

std::string describe_out_of_memory(const std::string& message) {
  // The message is like "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11
  // GiB of which 1.05 GiB is free. …". Its sentences up to what is free are taken, on one line.
  const size_t begin = message.find("Tried to allocate");
  const size_t is_free = begin == std::string::npos ? begin : message.find(" is free", begin);
  std::string facts = is_free == std::string::npos ? message.substr(0, message.find('\n'))
                                                   : message.substr(begin, is_free + 8 - begin);
  for (char& c : facts)
    if (c == '\n') c = ' ';
  return fmt::format(
      "[GPU memory] expected room for the next tensor, got: {}; use shorter rows (--model_max_length), fewer "
      "at "
      "a time (--per_device_train_batch_size, --batch_size), --gradient_checkpointing true, a smaller model, "
      "or "
      "--device cpu; other programs on this GPU take memory too",
      facts);
}

}  // namespace longlora::cli
