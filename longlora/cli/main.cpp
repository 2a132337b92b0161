// The command line: verbs in, exit codes out.
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "longlora/cli/flags.h"
#include "longlora/cli/threads.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/ops/device.h"
#include "longlora/ops/tensor_memory.h"

namespace longlora::cli {
namespace {

constexpr const char* kDescription =
    "longlora takes a pretrained language model to a longer context window with shifted sparse\n"
    "attention and low-rank adaptation (LongLoRA), and measures the result.\n";

constexpr const char* kFooter =
    "\nlonglora VERB --help lists the flags of a verb and their defaults.\n"
    "Exit codes: 0 done, 2 wrong usage, 3 unusable file, model or data, 4 memory, disk or GPU, 1 anything "
    "else.";

/// The subcommand that was being parsed, or the application itself.
const CLI::App& active_verb(const CLI::App& app) {
  const auto verbs = app.get_subcommands();
  return verbs.empty() ? app : *verbs.front();
}

int report_usage(const CLI::App& app, const CLI::ParseError& error) {
  std::string message = error.what();
  const CLI::App& verb = active_verb(app);
  // Words that no flag took say more than the flag that is missing because one is misspelt.
  if (const auto extras = app.remaining(/*recurse=*/true); !extras.empty()) {
    const std::string unknown = extras.front().substr(0, extras.front().find('='));
    const std::string nearest = nearest_flag(verb, unknown);
    message = fmt::format("[{}] expected a flag of this verb, got {}{}", verb.get_name(), unknown,
                          nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest));
  }
  log_error(fmt::format("{}\n  {} --help lists the flags", message,
                        &verb == &app ? "longlora" : "longlora " + verb.get_name()));
  return static_cast<int>(ExitCode::kUsage);
}

/// What is wrong with a command line that names no verb; empty when it names one or asks for help.
std::string missing_verb(const CLI::App& app, int argc, char** argv) {
  std::vector<std::string> verbs;
  for (const CLI::App* verb : app.get_subcommands(/*filter=*/{})) verbs.push_back(verb->get_name());
  if (argc < 2) return fmt::format("[longlora] expected a verb ({}), got none", fmt::join(verbs, ", "));
  const std::string word = argv[1];
  if (word.starts_with("-") || std::find(verbs.begin(), verbs.end(), word) != verbs.end()) return "";
  const std::string nearest = nearest_word(verbs, word);
  return fmt::format("[longlora] expected a verb ({}), got {}{}", fmt::join(verbs, ", "), word,
                     nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest));
}

int run(int argc, char** argv) {
  CLI::App app{kDescription, "longlora"};
  app.footer(kFooter);
  app.require_subcommand(1);
  app.set_version_flag("--version", version());
  app.get_formatter()->column_width(36);
  add_verbs(app);
  if (const std::string problem = missing_verb(app, argc, argv); !problem.empty()) {
    log_error(problem + "\n  longlora --help says what each verb does");
    return static_cast<int>(ExitCode::kUsage);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);  // --help, --version
  } catch (const CLI::ParseError& error) {
    return report_usage(app, error);
  }
  return static_cast<int>(ExitCode::kDone);
}

/// Whether the system refused memory, disk or permission, which the user can change.
bool is_about_resources(const std::error_code& code) {
  for (const int error_number : {ENOSPC, EDQUOT, EFBIG, EROFS, EACCES, EPERM, ENOMEM, EMFILE, ENFILE, EIO})
    if (code == std::error_code(error_number, std::generic_category()) || code.value() == error_number)
      return true;
  return false;
}

int fail(const std::string& message, ExitCode code) {
  log_error(message);
  return static_cast<int>(code);
}

int fail_without_memory() {
  return fail(
      "[memory] expected enough memory, got none; use shorter rows, a smaller batch or a smaller model",
      ExitCode::kResources);
}

/// Runs the command line; every error becomes a message and an exit code.
int run_guarded(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const Error& error) {
    return fail(error.what(), error.code());
  } catch (const std::bad_alloc&) {
    return fail_without_memory();
  } catch (const c10::OutOfMemoryError& error) {
    return fail(ops::describe_out_of_memory(error.what_without_backtrace()), ExitCode::kResources);
  } catch (const c10::Error& error) {
    // libtorch's allocator has no exception of its own.
    const std::string message = error.what_without_backtrace();
    if (message.find("allocate memory") != std::string::npos) return fail_without_memory();
    return fail(message, ExitCode::kOther);
  } catch (const std::system_error& error) {
    return fail(error.what(), is_about_resources(error.code()) ? ExitCode::kResources : ExitCode::kOther);
  } catch (const std::exception& error) {
    return fail(error.what(), ExitCode::kOther);
  }
}

}  // namespace
}  // namespace longlora::cli

int main(int argc, char** argv) {
  // A limit on file sizes (ulimit -f) is then an error of the write like a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  longlora::ops::pool_tensor_memory();
  longlora::cli::limit_threads();
  int code = longlora::cli::run_guarded(argc, argv);
  if (std::fflush(stdout) != 0 && code == 0)
    code = longlora::cli::fail(
        "[standard output] expected to write the results, got an error; is the disk full?",
        longlora::ExitCode::kResources);
  // Without libtorch's destructors, which take its tables of operators apart for a tenth of a second.
  std::_Exit(code);
}
