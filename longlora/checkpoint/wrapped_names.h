// The names of tensors as training programs save them: below the keys of a larger dictionary, and with the
// parts that wrappers add.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace longlora::checkpoint {

/// A name without the parts that wrappers put anywhere into it: those of DataParallel and DeepSpeed (module),
/// torch.compile (_orig_mod), FSDP (_fsdp_wrapped_module), activation checkpointing
/// (_checkpoint_wrapped_module) and Lightning (_forward_module).
std::string without_wrappers(std::string_view name);

/// From the clean name of each of a model's tensors to its stored name. A clean name has neither wrappers nor
/// the keys above the model in a training state ("state_dict.", "model.", "module."). Where there are such
/// keys, names outside the model are left out. A model that was saved without its head gets the first part of
/// its names ("model.") back, and GPT-NeoX's head the name that it has in files. Names that are those of a
/// model already, or of no known model, come back as they are. Throws InputError with `source` for two models
/// in one file and for two names that become one.
std::map<std::string, std::string> unwrapped_names(const std::vector<std::string>& names,
                                                   const std::string& source);

}  // namespace longlora::checkpoint
