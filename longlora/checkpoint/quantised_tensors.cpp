#include "longlora/checkpoint/quantised_tensors.h"

#include "longlora/checkpoint/tensor_store.h"

namespace longlora::checkpoint {

std::string quantised_kind(const std::map<std::string, TensorInfo>& tensors) {
  struct Sign {
    const char* end;  // how the name of a tensor ends
    const char* kind;
  };
  // The order counts: GPTQ has the names that AWQ has, and one of its own.
  constexpr Sign kSigns[] = {{".g_idx", "GPTQ"},
                             {".qweight", "AWQ or GPTQ"},
                             {".q_weight", "EXL2"},
                             {".trellis", "EXL3"},
                             {".codebooks", "AQLM"},
                             {".W_q", "HQQ"},
                             {".SCB", "bitsandbytes (int8)"},
                             {".quant_state.bitsandbytes__fp4", "bitsandbytes (FP4)"},
                             {".weight_packed", "compressed-tensors"},
                             {".weight_scale_inv", "FP8"},
                             {".weight_scale", "FP8 or int8 with scales"},
                             {".weight._data", "Quanto"},
                             {"_blocks", "MXFP4"}};
  for (const Sign& sign : kSigns)
    for (const auto& [name, info] : tensors)
      if (name.ends_with(sign.end)) return sign.kind;
  return "";
}

}  // namespace longlora::checkpoint
