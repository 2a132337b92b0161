// The command line: verbs in, exit codes out.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <new>
#include <string>

#include "longlora/cli/flags.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/ops/tensor_memory.h"

namespace longlora::cli {
namespace {

constexpr const char* kDescription =
    "longlora takes a pretrained language model to a longer context window with shifted sparse\n"
    "attention and low-rank adaptation (LongLoRA), and measures the result.\n";

constexpr const char* kFooter =
    "\nlonglora VERB --help lists the flags of a verb and their defaults.\n"
    "Exit codes: 0 done, 2 wrong usage, 3 unusable file, model or data, 4 memory or disk, 1 anything else.";

/// The subcommand that was being parsed, or the application itself.
const CLI::App& active_verb(const CLI::App& app) {
  const auto verbs = app.get_subcommands();
  return verbs.empty() ? app : *verbs.front();
}

int report_usage(const CLI::App& app, const CLI::ParseError& error) {
  std::string message = error.what();
  const CLI::App& verb = active_verb(app);
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    const auto extras = app.remaining(/*recurse=*/true);
    const std::string unknown = extras.empty() ? "" : extras.front().substr(0, extras.front().find('='));
    const std::string nearest = nearest_flag(verb, unknown);
    message = fmt::format("[{}] expected a flag of this verb, got {}{}", verb.get_name(), unknown,
                          nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest));
  }
  log_error(fmt::format("{}\n  longlora {} --help lists the flags", message, verb.get_name()));
  return static_cast<int>(ExitCode::kUsage);
}

int run(int argc, char** argv) {
  CLI::App app{kDescription, "longlora"};
  app.footer(kFooter);
  app.require_subcommand(1);
  app.set_version_flag("--version", version());
  app.get_formatter()->column_width(36);
  add_tokenize_verb(app);
  add_fine_tune_verb(app);
  add_merge_verb(app);
  add_eval_verb(app);
  add_passkey_verb(app);
  add_score_verb(app);
  add_plan_verb(app);
  add_report_verb(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);  // --help, --version
  } catch (const CLI::ParseError& error) {
    return report_usage(app, error);
  }
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace
}  // namespace longlora::cli

int main(int argc, char** argv) {
  using namespace longlora;
  try {
    ops::pool_tensor_memory();
    return cli::run(argc, argv);
  } catch (const Error& error) {
    log_error(error.what());
    return static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    log_error(
        "[memory] expected enough memory, got none; use a shorter --model_max_length or a smaller batch");
    return static_cast<int>(ExitCode::kResources);
  } catch (const std::exception& error) {
    log_error(error.what());
    return static_cast<int>(ExitCode::kOther);
  }
}
