// Parses a template. Internal to this room.
#pragma once

#include "longlora/jinja/lexer.h"
#include "longlora/jinja/syntax.h"

namespace longlora::jinja {

/// Throws InputError with the place of what is no template, and with place and name of a tag, filter, test,
/// method or function that is not supported.
Block parse(const Source& source);

}  // namespace longlora::jinja
