#include "longlora/cli/version.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>

#include "longlora/ops/cpu/isa.h"
#include "longlora/ops/cpu/product_kernels.h"

namespace longlora::cli {
namespace {

// The version of the library that is loaded, which need not be the one of the headers.
std::string libtorch_version() {
  constexpr std::string_view kKey = "TORCH_VERSION=";
  const std::string settings = at::show_config();
  const size_t at = settings.find(kKey);
  if (at == std::string::npos) return "of an unknown version";
  const size_t begin = at + kKey.size();
  return settings.substr(begin, settings.find_first_of(", \n", begin) - begin);
}

}  // namespace

std::string version() {
  return LONGLORA_VERSION;
}

std::string describe_program() {
  const char* const products = ops::cpu::product_kernels() != nullptr ? "own" : "libtorch's";
  return fmt::format(
      "longlora {}\n"
      "build     {}\n"
      "libtorch  {}, {}\n"
      "kernels   {}, {} matrix products in bfloat16\n"
      "threads   {}",
      version(), LONGLORA_BUILD, libtorch_version(), at::get_cpu_capability(), ops::cpu::isa_name(), products,
      at::get_num_threads());
}

}  // namespace longlora::cli
