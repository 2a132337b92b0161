#include "longlora/model/adapter_plan.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/model/stored_model.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::model {
namespace {

using checkpoint::PeftAdapter;

using Shape = std::vector<int64_t>;

std::string module_of(const std::string& parameter) {
  return parameter.substr(0, parameter.rfind('.'));
}

// Makes the plan of one adapter for one base.
class Planner {
 public:
  Planner(const Decoder& base, const PeftAdapter& adapter)
      : base_(base),
        adapter_(adapter),
        names_(base.config.family().names),
        embedding_(embedding_name(base.config)),
        head_(head_name(base.config)),
        tied_(!base.lm_head.value.defined()) {
    visit_parameters(base, [&](const std::string& name, ParameterRole role, const Parameter& parameter) {
      if (!is_of_pair(role)) shapes_[name] = parameter.value.sizes().vec();
    });
    shapes_[head_] = base.head().value.sizes().vec();
  }

  AdapterPlan make() {
    place_parameters();
    place_token_rows();
    place_pairs();
    plan_.vocab_size = find_vocab_size();
    plan_.added_rows = std::max<int64_t>(0, plan_.vocab_size - base_.config.vocab_size);
    check_parameter_shapes();
    check_pair_shapes();
    plan_.tied = tied_ && keeps_tie();
    if (plan_.tied) plan_.changes.erase(head_);
    return std::move(plan_);
  }

 private:
  std::string model_name(const std::string& adapter_name) const;
  bool is_end_of_vocabulary(const std::string& name) const { return name == embedding_ || name == head_; }
  TensorChange& change(const std::string& name) { return plan_.changes[name]; }

  void place_parameters();
  void share_parameters();
  void place_token_rows();
  void place_pairs();
  int64_t find_vocab_size() const;
  void check_parameter_shapes() const;
  void check_pair_shapes() const;
  void check_token_rows(const std::string& name, const std::string& module) const;
  bool keeps_tie() const;
  bool are_same_pair(const std::string& a, const std::string& b) const;
  bool are_same_rows(const std::string& a, const std::string& b) const;
  [[noreturn]] void refuse(const std::string& reason) const {
    throw InputError(fmt::format("[{}] expected {}", adapter_.directory().string(), reason));
  }

  const Decoder& base_;
  const PeftAdapter& adapter_;
  const ModuleNames& names_;
  const std::string embedding_, head_;
  const bool tied_;
  std::map<std::string, Shape> shapes_;
  AdapterPlan plan_;
};

// Finds the base's name of a parameter. An adapter that was made on a model without its head lacks the first
// part of the names ("model."), and an adapter of GPT-NeoX from transformers 5 calls the head "lm_head".
std::string Planner::model_name(const std::string& adapter_name) const {
  constexpr const char* kHead = "lm_head.";
  if (shapes_.count(adapter_name)) return adapter_name;
  if (adapter_name.starts_with(kHead) &&
      names_.lm_head + adapter_name.substr(adapter_name.find('.')) == head_)
    return head_;
  const std::string prefix(names_.embed_tokens, std::string_view(names_.embed_tokens).find('.') + 1);
  if (shapes_.count(prefix + adapter_name)) return prefix + adapter_name;
  refuse(fmt::format("modules of the base model, got {} which it does not have", adapter_name));
}

void Planner::place_parameters() {
  for (const std::string& parameter : adapter_.parameters())
    change(model_name(parameter)).parameter = parameter;
  if (tied_) share_parameters();
}

// Decides which value embedding and head get where the base ties them. A stored copy that was trained by
// itself counts for its own end alone; the tied weight, where the file has it, counts for both ends.
void Planner::share_parameters() {
  const std::string given[2] = {plan_.change_of(embedding_).parameter, plan_.change_of(head_).parameter};
  std::string own[2], shared[2];
  for (int end = 0; end < 2; ++end) {
    if (given[end].empty()) continue;
    const std::string original = PeftAdapter::original_of(given[end]);
    const bool is_copy = adapter_.is_saved_copy(given[end]);
    (is_copy ? own : shared)[end] = given[end];
    if (is_copy && adapter_.has_parameter(original)) shared[end] = original;
  }
  // With ensure_weight_tying PEFT ties only an embedding that is called "embed_tokens". PEFT itself stores a
  // copy for the head, too; a run of this program, which trains one weight, stores one copy, which then
  // counts for both.
  const bool follows = adapter_.config().ensure_weight_tying && embedding_.ends_with("embed_tokens.weight");
  for (int end = 0; end < 2; ++end) {
    const int other = 1 - end;
    std::string source = own[end];
    if (source.empty() && follows && shared[end].empty()) source = own[other];
    if (source.empty()) source = shared[end];
    if (source.empty()) source = shared[other];
    if (!source.empty()) change(end == 0 ? embedding_ : head_).parameter = source;
  }
}

// Places trained rows. Rows of the embedding are also those of a head that config.json ties to it, unless the
// adapter has rows for the head.
void Planner::place_token_rows() {
  for (const auto& [module, ids] : adapter_.token_rows())
    change(model_name(module + ".weight")).token_rows = module;
  const std::string rows = plan_.change_of(embedding_).token_rows;
  if (!rows.empty() && says_tied(base_.config) && plan_.change_of(head_).token_rows.empty())
    change(head_).token_rows = rows;
}

void Planner::place_pairs() {
  for (const std::string& module : adapter_.modules()) {
    const std::string name = model_name(module + ".weight");
    change(name).pair = module;
    if (!adapter_.config().lora_bias) continue;
    if (is_end_of_vocabulary(name)) refuse(fmt::format("lora_bias of layers, got it for {}", module));
    change(module_of(name) + ".bias").pair_bias = module;
  }
  visit_linears(base_, [&](const std::string& module, const Linear&) {
    if (adapter_.config().targets(module) && plan_.change_of(module + ".weight").pair.empty())
      plan_.without_pair.push_back(module);
  });
}

// Returns the size of the vocabulary: the most rows that the base or a part of the adapter has for embedding
// or head. Where the adapter replaces both ends, their rows alone count, which may be fewer than the base's.
int64_t Planner::find_vocab_size() const {
  std::set<int64_t> replaced, rows = {base_.config.vocab_size};
  int num_replaced = 0;
  for (const std::string& name : {embedding_, head_}) {
    const TensorChange change = plan_.change_of(name);
    if (!change.pair.empty()) rows.insert(adapter_.shape_b(change.pair)[0]);
    if (change.parameter.empty()) continue;
    const Shape& shape = adapter_.parameter_info(change.parameter).shape;
    if (shape.size() != 2) continue;  // check_parameter_shapes refuses it
    replaced.insert(shape[0]);
    rows.insert(shape[0]);
    ++num_replaced;
  }
  return num_replaced == 2 && replaced.size() == 1 ? *replaced.begin() : *rows.rbegin();
}

void Planner::check_parameter_shapes() const {
  for (const auto& [name, change] : plan_.changes) {
    if (!change.token_rows.empty()) check_token_rows(name, change.token_rows);
    if (change.parameter.empty()) continue;
    const Shape &shape = shapes_.at(name), &own = adapter_.parameter_info(change.parameter).shape;
    const bool has_rows = is_end_of_vocabulary(name);
    const bool fits =
        has_rows ? own.size() == 2 && own[1] == shape[1] && (own[0] >= shape[0] || own[0] == plan_.vocab_size)
                 : own == shape;
    if (!fits)
      refuse(fmt::format("{} of shape [{}]{}, got [{}]; was the adapter made for another base model?", name,
                         fmt::join(shape, ", "), has_rows ? " or with more rows" : "", fmt::join(own, ", ")));
  }
}

void Planner::check_token_rows(const std::string& name, const std::string& module) const {
  const auto& ids = adapter_.token_rows().at(module);
  const int64_t largest = ids.empty() ? -1 : *std::max_element(ids.begin(), ids.end());
  if (largest >= plan_.vocab_size || !is_end_of_vocabulary(name))
    refuse(fmt::format("trainable_token_indices of a vocabulary of {}, got {} for {}", plan_.vocab_size,
                       largest, name));
}

void Planner::check_pair_shapes() const {
  for (const auto& [name, change] : plan_.changes) {
    if (change.pair.empty()) continue;
    const Shape &shape = shapes_.at(name), a = adapter_.shape_a(change.pair),
                b = adapter_.shape_b(change.pair);
    const bool fits = shape.size() == 2 && a[1] == shape[1] &&
                      (b[0] == shape[0] || (is_end_of_vocabulary(name) && b[0] == plan_.vocab_size));
    if (!fits)
      refuse(
          fmt::format("{} to fit a weight of {}, got A with {} columns and B with {} rows; is this the "
                      "base model the adapter was made for?",
                      change.pair, fmt::join(shape, " × "), a[1], b[0]));
  }
}

bool Planner::keeps_tie() const {
  const TensorChange embedding = plan_.change_of(embedding_), head = plan_.change_of(head_);
  if (embedding.parameter.empty() != head.parameter.empty()) return false;
  const bool same_values = embedding.parameter == head.parameter ||
                           adapter_.are_equal_parameters(embedding.parameter, head.parameter);
  return same_values && are_same_rows(embedding.token_rows, head.token_rows) &&
         are_same_pair(embedding.pair, head.pair);
}

bool Planner::are_same_pair(const std::string& a, const std::string& b) const {
  if (a == b) return true;
  if (a.empty() || b.empty() || adapter_.config().use_dora) return false;
  return adapter_.config().scaling_of(a) == adapter_.config().scaling_of(b) &&
         at::equal(adapter_.load_a(a), adapter_.load_a(b)) &&
         at::equal(adapter_.load_b(a), adapter_.load_b(b));
}

bool Planner::are_same_rows(const std::string& a, const std::string& b) const {
  if (a == b) return true;
  if (a.empty() || b.empty()) return false;
  return adapter_.token_rows().at(a) == adapter_.token_rows().at(b) &&
         at::equal(adapter_.load_token_rows(a), adapter_.load_token_rows(b));
}

}  // namespace

TensorChange AdapterPlan::change_of(const std::string& name) const {
  const auto found = changes.find(name);
  return found == changes.end() ? TensorChange() : found->second;
}

AdapterPlan plan_adapter(const Decoder& base, const PeftAdapter& adapter) {
  return Planner(base, adapter).make();
}

std::set<std::string> replaced_parameters(const AdapterPlan& plan, const Decoder& base) {
  std::set<std::string> names;
  for (const auto& [name, change] : plan.changes)
    if (change.replaces()) names.insert(name);
  if (plan.vocab_size != base.config.vocab_size || plan.tied != base.config.tie_word_embeddings)
    names.insert(head_name(base.config));
  return names;
}

void warn_about(const AdapterPlan& plan, const PeftAdapter& adapter) {
  const std::string folder = adapter.directory().string();
  if (!plan.without_pair.empty())
    log_warning(
        fmt::format("{}: {} layers that target_modules names have no low-rank pair there and stay as in "
                    "the base, the first: {}",
                    folder, plan.without_pair.size(), plan.without_pair[0]));
  if (plan.added_rows > 0 && !tokenizer::has_tokenizer(adapter.directory()))
    log_warning(
        fmt::format("{}: {} rows are added to the vocabulary, but there is no tokenizer beside the adapter; "
                    "the base's may not know their tokens",
                    folder, plan.added_rows));
}

void change_weight(const PeftAdapter& adapter, const TensorChange& change, const at::Tensor& weight) {
  const c10::NoGradGuard no_grad;
  const at::TensorOptions options = weight.options();
  if (!change.token_rows.empty()) {
    const at::Tensor ids = at::tensor(adapter.token_rows().at(change.token_rows), at::kLong);
    weight.index_copy_(0, ids.to(weight.device()), adapter.load_token_rows(change.token_rows).to(options));
  }
  if (change.pair.empty()) return;
  const at::Tensor a = adapter.load_a(change.pair).to(options), b = adapter.load_b(change.pair).to(options);
  at::Tensor rows = weight.narrow(0, 0, b.size(0));
  rows.addmm_(b, a, /*beta=*/1, adapter.config().scaling_of(change.pair));
  if (!adapter.config().use_dora) return;
  const int64_t summed = adapter.is_embedding(change.pair) ? 0 : 1;
  const at::Tensor magnitude = adapter.load_magnitude(change.pair).to(options);
  rows.mul_((magnitude / rows.norm(2, {summed}, /*keepdim=*/false)).unsqueeze(summed));
}

at::Tensor added_bias(const PeftAdapter& adapter, const TensorChange& change) {
  return adapter.load_pair_bias(change.pair_bias)
      .to(at::kFloat)
      .mul_(adapter.config().scaling_of(change.pair_bias));
}

void require_trainable(const AdapterPlan& plan, const Decoder& base, const PeftAdapter& adapter) {
  std::set<std::string> layers, refused;
  visit_linears(base, [&](const std::string& name, const Linear&) { layers.insert(name + ".weight"); });
  for (const auto& [name, change] : plan.changes) {
    if (!change.token_rows.empty()) refused.insert("single rows of " + name);
    if (!change.pair.empty() && layers.count(name) == 0) refused.insert("a low-rank pair of " + name);
    if (!change.pair_bias.empty()) refused.insert("biases of pairs (lora_bias)");
  }
  if (!refused.empty())
    throw UsageError(
        fmt::format("[--peft_model {}] expected low-rank pairs of the layers and whole parameters to train "
                    "on, got {}, which "
                    "can only be run and merged; merge the adapter and start from the result",
                    adapter.directory().string(), fmt::join(refused, ", ")));
}

}  // namespace longlora::model
