#include "longlora/results/plan.h"

#include "longlora/results/fields.h"

namespace longlora::results {

Json Plan::to_json() const {
  return write_fields(*this);
}

}  // namespace longlora::results
