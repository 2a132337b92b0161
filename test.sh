#!/usr/bin/env bash
# Sets everything up, builds, and runs every check and test.
# shellcheck disable=SC2317  # functions that step calls
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"

usage() {
  cat <<'TEXT'
Usage: ./test.sh [--sanitize] [-L LABEL] [-R REGEX] [-E REGEX]

Sets up what is missing, builds everything, then runs the checks of format, of
sizes, braces and comments, of the order of rooms and of the scripts, the lints
and all tests. Each line says how long its part took; the last line is "N passed,
N failed, N skipped", in which each of the five checks counts as one.

  --sanitize   build and test with address and undefined-behaviour sanitizers
  -L LABEL     only tests with this label (unit, parity, slow, gpu)
  -R REGEX     only tests whose name matches
  -E REGEX     not tests whose name matches
  --help       this text
TEXT
}

preset=release
ctest_filter=()
while (($# > 0)); do
  case "$1" in
    --sanitize) preset=sanitize ;;
    -L | -R | -E)
      (($# > 1)) || usage_error "expected a value after $1, got nothing"
      ctest_filter+=("$1" "$2")
      shift
      ;;
    --help | -h) usage && exit 0 ;;
    *) usage_error "unknown option '$1'" ;;
  esac
  shift
done
readonly BUILD="$REPO/build/$preset"
readonly SOURCE_FOLDERS=("$REPO"/{longlora,tests,benchmarks,models})
passed=0 failed=0 skipped=0

# count_check TEXT COMMAND...: a step that counts as one test.
count_check() {
  if step "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

finish() {
  echo "All done in $(duration $SECONDS)"
  echo "$passed passed, $failed failed, $skipped skipped"
  exit $((failed > 0))
}

check_format() {
  find "${SOURCE_FOLDERS[@]}" \( -name '*.h' -o -name '*.cpp' \) -print0 |
    xargs -0 clang-format --dry-run --Werror
}

check_dialect() {
  "$REPO/scripts/check_sources.py" --self-test && "$REPO/scripts/check_sources.py"
}

check_room_order() {
  "$REPO/scripts/check_rooms.sh" --self-test && "$REPO/scripts/check_rooms.sh"
}

# Every shell script with bash and shellcheck, every Python script for its syntax.
check_scripts() {
  local shell_scripts python_scripts script
  cd "$REPO" || return 1
  mapfile -t shell_scripts < <(find ./*.sh .ci/run scripts "${SOURCE_FOLDERS[@]}" -name '*.sh' -o -path .ci/run)
  mapfile -t python_scripts < <(find scripts "${SOURCE_FOLDERS[@]}" -name '*.py')
  for script in "${shell_scripts[@]}"; do bash -n "$script" || return 1; done
  shellcheck -x "${shell_scripts[@]}" || return 1
  python3 -c 'import ast, sys; [ast.parse(open(name).read(), name) for name in sys.argv[1:]]' "${python_scripts[@]}"
}

# attribute NAME: a count in the head of ctest's JUnit file.
attribute() {
  grep -o -m1 "\b$1=\"[0-9]*\"" "$BUILD/junit.xml" | grep -o '[0-9]*'
}

run_tests() {
  rm -f "$BUILD/junit.xml"
  # Threads that wait asleep: tests that run side by side share the cores.
  OMP_WAIT_POLICY=passive ctest --test-dir "$BUILD" --output-junit "$BUILD/junit.xml" --output-on-failure \
    --no-tests=error --parallel "$(build_jobs)" "${ctest_filter[@]}"
}

# Runs the tests and adds what they came to.
count_tests() {
  local status=0 num_failed num_skipped
  step "Tests" run_tests || status=1
  if [[ ! -f $BUILD/junit.xml ]]; then
    failed=$((failed + 1))
    return
  fi
  num_failed=$(attribute failures)
  num_skipped=$(($(attribute skipped) + $(attribute disabled)))
  # ctest itself failed (no test matches, a time limit): no silent success.
  if ((status != 0 && num_failed == 0)); then failed=$((failed + 1)); fi
  passed=$((passed + $(attribute tests) - num_failed - num_skipped))
  failed=$((failed + num_failed))
  skipped=$((skipped + num_skipped))
}

"$REPO/scripts/setup.sh" --tests
if ! build_preset "$preset" all; then
  failed=1
  finish
fi
count_check "Format (clang-format)" check_format
count_check "Sizes, braces and comments" check_dialect
count_check "Order of rooms" check_room_order
count_check "Scripts (shellcheck)" check_scripts
count_check "Lints (clang-tidy)" "$REPO/scripts/lint.py" "$BUILD"
count_tests
finish
