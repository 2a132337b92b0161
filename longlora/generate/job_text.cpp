#include "longlora/generate/job_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/generate/decode_session.h"

namespace longlora::generate {

void check_job(const model::Decoder& decoder, const Job& job, int64_t context_size) {
  check_ids(decoder, job.prompt);
  const auto tokens = std::ssize(job.prompt);
  if (tokens > context_size)
    throw InputError(fmt::format(
        "[context] expected at most {} tokens, got {}; shorten the text or raise the context size",
        context_size, tokens));
  const int64_t vocab_size = decoder.embed_tokens.value.size(0);
  for (const auto& [id, bias] : job.sampling.logit_bias)
    if (id < 0 || id >= vocab_size)
      throw InputError(fmt::format("[logit_bias] expected ids in [0, {}), got {}", vocab_size, id));
  make_sampler(job.sampling);  // throws for options outside their range
}

JobText::JobText(const Job& job)
    : job_(job), ids_(job.prompt), pick_(make_sampler(job.sampling, job.prompt)) {}

int64_t JobText::num_written() const {
  return std::ssize(ids_) - std::ssize(job_.prompt);
}

JobText::Next JobText::write(const at::Tensor& logits, int64_t context_size) {
  const int64_t id = pick_(logits);
  if (std::find(job_.stop_ids.begin(), job_.stop_ids.end(), id) != job_.stop_ids.end())
    return {.wrote = {}, .reason = StopReason::kStopId};
  ids_.push_back(id);
  Next next = {.wrote = describe(logits, id), .reason = {}};
  if (num_written() >= job_.max_new_tokens)
    next.reason = StopReason::kMaxTokens;
  else if (std::ssize(ids_) > context_size)
    next.reason = StopReason::kContextFull;
  return next;
}

Wrote JobText::describe(const at::Tensor& logits, int64_t id) const {
  Wrote wrote = {.id = id, .log_probability = 0.0f, .likeliest = {}};
  if (job_.num_likeliest < 0) return wrote;
  const at::Tensor log_probabilities = at::log_softmax(logits.to(at::kCPU, at::kFloat), -1);
  wrote.log_probability = log_probabilities[id].item<float>();
  const int64_t count = std::min(job_.num_likeliest, logits.numel());
  if (count == 0) return wrote;
  const auto [values, indices] = at::topk(log_probabilities, count);
  wrote.likeliest.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    wrote.likeliest.emplace_back(indices[i].item<int64_t>(), values[i].item<float>());
  return wrote;
}

}  // namespace longlora::generate
