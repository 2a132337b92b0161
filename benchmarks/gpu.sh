#!/usr/bin/env bash
# Runs the `gpu` tests and every measurement on one NVIDIA GPU, in under nine minutes, from what is built.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/common.sh"

usage() {
  cat <<'TEXT'
Usage: benchmarks/gpu.sh [--peer SCRIPT] [--libtorch DIR] [--build DIR] [--device DEVICE] [--output FILE]

Builds nothing and needs no network. Build before, where there need be no GPU:
  ./quickstart.sh --build-only --cuda
  cmake --preset release -DLONGLORA_BUILD_BENCHMARKS=ON
  cmake --build build/release

  --peer SCRIPT    measure this program too (a Python script with the flags --shape, --seq_len, --steps, --device);
                   PYTHON names the interpreter
  --libtorch DIR   folder that holds torch/lib, where it is not .deps/libtorch
  --build DIR      default: build/release
  --device DEVICE  default: cuda
  --output FILE    default: benchmarks/results/gpu.md

What it ran, each with its time limit, its exit code and its result, is in FILE afterwards. The exit code is 0
when all of it succeeded.
TEXT
}

peer='' libtorch='' build="$REPO/build/release" device=cuda output="$REPO/benchmarks/results/gpu.md"
while (($# > 0)); do
  case "$1" in
    --peer | --libtorch | --build | --device | --output)
      (($# > 1)) || usage_error "expected a value after $1, got nothing"
      declare "${1#--}=$2"
      shift
      ;;
    --help | -h) usage && exit 0 ;;
    *) usage_error "unknown option '$1'" ;;
  esac
  shift
done
readonly BENCHMARK="$build/benchmarks/train/train_gpu_benchmark"
readonly TIME_LIMIT=525 # seconds for everything
failures=0

[[ -x $BENCHMARK ]] || die "[gpu.sh] expected $BENCHMARK, found nothing; $0 --help says how to build it"
if [[ -n $libtorch ]]; then
  [[ -f $libtorch/torch/lib/libtorch_cuda.so ]] ||
    die "[--libtorch $libtorch] expected torch/lib/libtorch_cuda.so in it, found nothing"
  export LD_LIBRARY_PATH="$libtorch/torch/lib:$libtorch/nvidia/cu13/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$(dirname "$output")"

# say LINE...: to the terminal and to the results.
say() {
  printf '%s\n' "$@" | tee -a "$output"
}

# bounded SECONDS TITLE COMMAND...: runs the command for at most so long, and no longer than is left of the
# whole; its output, or the end of what it said where it failed, goes to the results.
bounded() {
  local limit=$1 title=$2 left=$((TIME_LIMIT - SECONDS)) start=$SECONDS status=0
  shift 2
  if ((left < limit)); then limit=$left; fi
  say '' "### $title" ''
  if ((limit < 5)); then
    say "not run: no time left of $TIME_LIMIT s"
    failures=$((failures + 1))
    return
  fi
  timeout --kill-after=5 "$limit" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || status=$?
  say "exit code $status after $((SECONDS - start)) s (limit $limit s)" '' '```'
  tail -n 12 "$scratch/out" | tee -a "$output"
  if ((status != 0)); then tail -n 8 "$scratch/err" | tee -a "$output"; fi
  say '```'
  if ((status != 0)); then failures=$((failures + 1)); fi
}

# training SECONDS FLAG...: one case of the benchmark program.
training() {
  local limit=$1
  shift
  bounded "$limit" "Training: $*" "$BENCHMARK" --device "$device" "$@"
}

printf '# Results on a GPU\n\nWritten by benchmarks/gpu.sh.\n\n' >"$output"
commit=$(git -C "$REPO" rev-parse --short HEAD 2>/dev/null || echo unknown)
gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -n 1 || echo 'no nvidia-smi')
say "Commit $commit; $gpu"

say '' '## Tests' ''
for test in "$build"/tests/*/*_gpu_test; do
  bounded 100 "$(basename "$test")" "$test" --gtest_brief=1
  if grep -q SKIPPED "$scratch/out"; then
    say 'skipped: nothing was tested'
    failures=$((failures + 1))
  fi
done

say '' '## Measurements' ''
training 60 --shape 7b --tokens 8192 --steps 4
training 90 --shape 7b --tokens 32768 --steps 2
training 90 --shape 7b --tokens 32768 --steps 1 --attention full
training 120 --shape 7b --tokens 102400 --steps 1
training 60 --shape 7b --tokens 8192 --steps 3 --attention_backend cudnn
training 60 --shape 7b --tokens 8192 --steps 3 --attention_backend math
if [[ -n $peer ]]; then
  # A shape that both know.
  training 60 --shape 7b-2layers --tokens 8192 --steps 5
  bounded 90 "Peer: $(basename "$peer"), 7b-2layers, 8192 tokens" \
    "${PYTHON:-python3}" "$peer" --shape 7b-2layers --seq_len 8192 --steps 5 --device "$device"
fi

say '' "All in $((SECONDS)) s; $failures of these failed or were skipped."
exit $((failures > 0))
