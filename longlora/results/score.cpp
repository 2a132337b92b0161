#include "longlora/results/score.h"

#include "longlora/results/fields.h"

namespace longlora::results {

Json Score::to_json() const {
  return write_fields(*this);
}

Score Score::from_json(const Json& json, const std::string& where) {
  return read_fields<Score>(json, where);
}

}  // namespace longlora::results
