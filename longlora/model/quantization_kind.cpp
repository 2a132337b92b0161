#include "longlora/model/quantization_kind.h"

#include <fmt/format.h>

#include <map>

namespace longlora::model {
namespace {

bool says(const Json& settings, const char* key) {
  return settings.contains(key) && settings[key] == true;
}

std::string text_of(const Json& settings, const char* key) {
  return settings.contains(key) && settings[key].is_string() ? settings[key].get<std::string>() : "";
}

std::string bitsandbytes_kind(const Json& settings) {
  if (says(settings, "load_in_8bit")) return "bitsandbytes (int8)";
  if (!says(settings, "load_in_4bit")) return "bitsandbytes (neither load_in_4bit nor load_in_8bit is true)";
  const std::string type = text_of(settings, "bnb_4bit_quant_type");
  return type == "nf4" ? kNf4 : fmt::format("bitsandbytes ({})", type.empty() ? "fp4" : type);
}

}  // namespace

std::string quantization_kind(const Json& settings) {
  static const std::map<std::string, std::string> kNames = {{"gptq", "GPTQ"},
                                                            {"awq", "AWQ"},
                                                            {"fp8", "FP8"},
                                                            {"fbgemm_fp8", "FP8 (FBGEMM)"},
                                                            {"compressed-tensors", "compressed-tensors"},
                                                            {"aqlm", "AQLM"},
                                                            {"hqq", "HQQ"},
                                                            {"quanto", "Quanto"},
                                                            {"eetq", "EETQ"},
                                                            {"exl2", "EXL2"},
                                                            {"exl3", "EXL3"},
                                                            {"torchao", "torchao"},
                                                            {"bitnet", "BitNet"},
                                                            {"mxfp4", "MXFP4"},
                                                            {"spqr", "SpQR"},
                                                            {"higgs", "HIGGS"},
                                                            {"vptq", "VPTQ"},
                                                            {"quark", "Quark"},
                                                            {"auto-round", "AutoRound"},
                                                            {"intel/auto-round", "AutoRound"},
                                                            {"marlin", "Marlin"},
                                                            {"quip", "QuIP"},
                                                            {"modelopt", "ModelOpt"}};
  const std::string method = text_of(settings, "quant_method");
  const bool is_bitsandbytes =
      method.starts_with("bitsandbytes") || says(settings, "_load_in_4bit") ||
      (method.empty() && (settings.contains("load_in_4bit") || settings.contains("load_in_8bit")));
  if (is_bitsandbytes) return bitsandbytes_kind(settings);
  const auto known = kNames.find(method);
  std::string name = known != kNames.end() ? known->second : method.empty() ? "an unnamed method" : method;
  for (const char* key : {"bits", "w_bit", "nbits"})
    if (settings.contains(key) && settings[key].is_number())
      return fmt::format("{} in {} bits", name, settings[key].dump());
  return name;
}

}  // namespace longlora::model
