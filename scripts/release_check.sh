#!/usr/bin/env bash
# Makes what is given to others and tries it as they would.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'TEXT'
Usage: scripts/release_check.sh [-R REGEX]

Builds the program, makes dist/ (scripts/package.sh) and runs the tests that need what other tests do without: root, the
network and up to an hour. Each says how long it took:

  Release.install      cmake --install, after the build is out of reach
  Release.archive      made again to the same bytes; the quickstart's verbs in bare Debian 12 and 13
  Release.wheel        pip install in a fresh environment, with all of torch (several GB), and the same verbs
  Release.dockerfile   the Dockerfile's instructions in bare Debian 12, compiling included, and the same verbs

Bare systems and caches are kept in build/release_check. A test that cannot run here is counted as skipped.

  -R REGEX   only tests whose name matches
TEXT
}

regex='^Release\.'
while (($# > 0)); do
  case "$1" in
    -R)
      (($# > 1)) || usage_error "expected a value after $1, got nothing"
      regex+=".*($2)"
      shift
      ;;
    --help | -h) usage && exit 0 ;;
    *) usage_error "unknown option '$1'" ;;
  esac
  shift
done

"$REPO/scripts/setup.sh" --tests --release
"$REPO/scripts/package.sh"
ctest --test-dir "$REPO/build/release" -C release_check -L slow -R "$regex" --output-on-failure --no-tests=error
