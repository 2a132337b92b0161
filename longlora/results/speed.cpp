#include "longlora/results/speed.h"

#include "longlora/results/fields.h"

namespace longlora::results {

Json Speed::to_json() const {
  return write_fields(*this);
}

}  // namespace longlora::results
