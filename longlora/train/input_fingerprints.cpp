#include "longlora/train/input_fingerprints.h"

#include "longlora/checkpoint/fingerprints.h"

namespace longlora::train {

Json input_fingerprints(const TrainOptions& options) {
  Json found = Json::object();
  if (!options.model_name_or_path.empty() && !options.init_random)
    found["--model_name_or_path"] = checkpoint::model_fingerprint(options.model_name_or_path);
  if (!options.peft_model.empty())
    found["--peft_model"] = checkpoint::adapter_fingerprint(options.peft_model);
  if (!options.config_file.empty()) found["--config"] = checkpoint::files_fingerprint({options.config_file});
  return found;
}

}  // namespace longlora::train
