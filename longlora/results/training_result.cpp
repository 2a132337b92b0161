#include "longlora/results/training_result.h"

#include "longlora/results/fields.h"

namespace longlora::results {

Json RunDescription::to_json() const {
  return write_fields(*this);
}

RunDescription RunDescription::from_json(const Json& json, const std::string& where) {
  return read_fields<RunDescription>(json, where);
}

Json TrainingResult::to_json() const {
  return write_fields(*this);
}

}  // namespace longlora::results
