#!/usr/bin/env bash
# Sets everything up, builds the program and runs the main job on the embedded model.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"

usage() {
  cat <<'TEXT'
Usage: ./quickstart.sh [--build-only] [--cuda]

Installs the Debian packages that are missing (as root or through sudo), fetches
libtorch into .deps/, builds build/release/longlora and extends the embedded
model's context window from 512 to 4096 tokens. The proof lies afterwards in
quickstart-out/report.html and quickstart-out/results.json.

  --build-only   stop after the build
  --cuda         fetch libtorch's CUDA libraries too and compute on the NVIDIA GPU
  --help         this text

Nothing outside this folder is touched except Debian packages. It can be run
again at any time; what is done already is not done again.
TEXT
}

build_only='' device=auto
for argument in "$@"; do
  case "$argument" in
    --build-only) build_only=1 ;;
    --cuda) device=cuda ;;
    --help | -h) usage && exit 0 ;;
    *) usage_error "unknown option '$argument'" ;;
  esac
done

if [[ $device == cuda ]]; then "$REPO/scripts/setup.sh" --cuda; else "$REPO/scripts/setup.sh"; fi
build_preset release longlora || exit 1
echo "The program is build/release/longlora ($(duration $SECONDS) so far)"
if [[ -n $build_only ]]; then exit 0; fi

"$REPO/scripts/main_job.sh" "$device"
echo "All done in $(duration $SECONDS)"
