#include "longlora/generate/model_identity.h"

#include <ATen/Version.h>
#include <fmt/format.h>

#include "longlora/checkpoint/fingerprints.h"
#include "longlora/ops/cpu/isa.h"

namespace longlora::generate {
namespace {

std::string quantization(const RuntimeOptions& options, const Runtime& runtime) {
  if (options.quantize)
    return fmt::format("four bits in blocks of {}{}", options.quantize->block_size,
                       options.quantize->double_quant ? ", scales in eight" : "");
  return runtime.quantized ? "four bits as stored" : "no four bits";
}

}  // namespace

std::string model_identity(const RuntimeOptions& options, const Runtime& runtime,
                           const std::string& version) {
  const bool adapted = !options.peft_model.empty();
  return fmt::format("{}; base {}; adapter {}; {}; {}; {}; window {}; {}; {}", version,
                     checkpoint::model_fingerprint(options.base_model),
                     adapted ? checkpoint::adapter_fingerprint(options.peft_model) : "none", options.dtype,
                     quantization(options, runtime), runtime.scaling,
                     runtime.decoder->config.context_window(), ops::cpu::isa_name(),
                     at::get_cpu_capability());
}

}  // namespace longlora::generate
