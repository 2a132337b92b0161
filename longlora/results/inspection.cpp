#include "longlora/results/inspection.h"

#include "longlora/results/fields.h"

namespace longlora::results {

Json Inspection::to_json() const {
  return write_fields(*this);
}

Inspection Inspection::from_json(const Json& json, const std::string& where) {
  return read_fields<Inspection>(json, where);
}

}  // namespace longlora::results
