#include "longlora/results/inference.h"

#include "longlora/results/fields.h"

namespace longlora::results {

Json Inference::to_json() const {
  return write_fields(*this);
}

}  // namespace longlora::results
