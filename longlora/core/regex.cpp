#include "longlora/core/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/core.h>
#include <pcre2.h>

#include <new>

#include "longlora/core/error.h"
#include "longlora/core/utf8.h"

namespace longlora {

struct Regex::Compiled {
  pcre2_code* code = nullptr;
  uint32_t match_limit = 0;
  ~Compiled() { pcre2_code_free(code); }
};

namespace {

std::string message_of(int error) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(error, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

// What one call of PCRE2 needs besides the compiled expression.
struct MatchState {
  MatchState(const pcre2_code* code, uint32_t match_limit)
      : data(pcre2_match_data_create_from_pattern(code, nullptr)),
        context(pcre2_match_context_create(nullptr)) {
    if (data == nullptr || context == nullptr) throw std::bad_alloc();
    if (match_limit != 0) pcre2_set_match_limit(context, match_limit);
  }
  ~MatchState() {
    if (stack != nullptr) pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  // The stack is made only when it is needed: few matches need more than PCRE2's own 32 KiB, and making it
  // takes longer than most matches.
  bool make_stack() {
    if (stack != nullptr) return false;
    stack = pcre2_jit_stack_create(size_t{64} << 10, size_t{8} << 20, nullptr);
    if (stack == nullptr) throw std::bad_alloc();
    pcre2_jit_stack_assign(context, nullptr, stack);
    return true;
  }
  MatchState(const MatchState&) = delete;
  MatchState& operator=(const MatchState&) = delete;

  pcre2_match_data* data;
  pcre2_match_context* context;
  pcre2_jit_stack* stack = nullptr;
};

}  // namespace

Regex::Regex(const std::string& pattern, const std::string& source, const RegexOptions& options)
    : compiled_(std::make_unique<Compiled>()), pattern_(pattern), source_(source) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  const uint32_t flags =
      PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | (options.multiline ? PCRE2_MULTILINE : 0);
  compiled_->match_limit = options.match_limit;
  compiled_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), flags, &error,
                                  &offset, nullptr);
  if (compiled_->code == nullptr) {
    throw InputError(
        fmt::format("[{}] expected a regular expression that PCRE2 understands, got \"{}\": {} at byte {}",
                    source, pattern, message_of(error), offset));
  }
  // Where PCRE2 cannot make machine code, matching is slower and its result the same.
  if (options.machine_code) pcre2_jit_compile(compiled_->code, PCRE2_JIT_COMPLETE);
}

Regex::~Regex() = default;

void Regex::for_each_match(std::string_view text, const std::function<void(size_t, size_t)>& visit) const {
  MatchState state(compiled_->code, compiled_->match_limit);
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t from = 0, last_end = std::string_view::npos;
  while (from <= text.size()) {
    const int count = pcre2_match(compiled_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, state.data,
                                  state.context);
    if (count == PCRE2_ERROR_JIT_STACKLIMIT && state.make_stack()) continue;
    if (count == PCRE2_ERROR_NOMATCH) return;
    if (count < 0) fail(count);
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(state.data);
    const size_t begin = range[0], end = range[1];
    if (begin > end) return;  // \K moved the start behind the end
    // An empty match right behind the last one does not count.
    if (begin != end || end != last_end) {
      visit(begin, end);
      last_end = end;
    }
    from = end;
    if (begin == end) from += end < text.size() ? utf8_length(text, end) : 1;
  }
}

bool Regex::matches_start(std::string_view text) const {
  const MatchState state(compiled_->code, compiled_->match_limit);
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const int count =
      pcre2_match(compiled_->code, subject, text.size(), 0, PCRE2_ANCHORED, state.data, state.context);
  const bool is_not_utf8 = count <= PCRE2_ERROR_UTF8_ERR1 && count >= PCRE2_ERROR_UTF8_ERR21;
  if (count < 0 && count != PCRE2_ERROR_NOMATCH && !is_not_utf8) fail(count);
  return count > 0;
}

void Regex::fail(int error) const {
  throw InputError(fmt::format("[{}] expected the expression \"{}\" to match within PCRE2's limits, got: {}",
                               source_, pattern_, message_of(error)));
}

}  // namespace longlora
