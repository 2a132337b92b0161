// The exception for what goes wrong while a template runs, before the place is added to it.
#pragma once

#include <string>

#include "longlora/core/error.h"

namespace longlora::jinja {

/// Thrown by everything that values are computed with; Template::render adds the place in the template.
class Fault : public InputError {
 public:
  explicit Fault(const std::string& words) : InputError("[template] " + words), words_(words) {}
  const std::string& words() const { return words_; }

 private:
  std::string words_;
};

}  // namespace longlora::jinja
