#!/usr/bin/env bash
# Fetches what the build takes: Debian packages (with apt-get, as root or through
# sudo) and libtorch (into .deps/libtorch). Nothing else outside the clone is
# touched. What is there already is left alone, without network.
#
#   scripts/setup.sh           for ./quickstart.sh
#   scripts/setup.sh --tests   and what ./test.sh takes besides
#   scripts/setup.sh --release and what scripts/package.sh and scripts/release_check.sh take besides
#   scripts/setup.sh --cuda    with libtorch's CUDA libraries, for NVIDIA GPUs
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Which list of wheels .deps/libtorch is made of: cpu, or cuda, which holds all that cpu does.
variant=cpu
lists=("$REPO/scripts/packages/build.txt")
for argument in "$@"; do
  case "$argument" in
    --tests) lists+=("$REPO/scripts/packages/test.txt") ;;
    --release) lists+=("$REPO/scripts/packages/release.txt") ;;
    --cuda) variant=cuda ;;
    *) die "[set-up] expected --tests, --release, --cuda or nothing, got '$argument'" ;;
  esac
done
if [[ $variant == cuda ]]; then
  readonly DOWNLOAD_SIZE='3.7 GB unpacked' NEEDED_DISK_MIB=9000
else
  readonly DOWNLOAD_SIZE='540 MB' NEEDED_DISK_MIB=2000
fi
readonly VARIANT=$variant
readonly WHEEL_LIST="$REPO/scripts/packages/libtorch-$VARIANT.txt"
readonly DEPS="$REPO/.deps"
readonly STAMP="$DEPS/libtorch/longlora-stamp.txt"

# --- Debian packages ---------------------------------------------------------

# missing_packages LIST...: names of those that are not installed.
missing_packages() {
  local package
  cat "$@" | grep -v '^#' | while read -r package; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
  done
}

# The command in front of apt-get: nothing for root, else sudo.
as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

install_packages() {
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    die "[set-up] expected Debian 12 (dpkg and apt-get), got neither. Install what corresponds to" \
      "$(cat "$@" | grep -v '^#' | tr '\n' ' ')and run again with LONGLORA_SKIP_PACKAGES=1"
  fi
  local missing
  mapfile -t missing < <(missing_packages "$@")
  if ((${#missing[@]} == 0)); then
    echo "Debian packages: all there"
    return
  fi
  echo "Debian packages to install: ${missing[*]}"
  if ((EUID != 0)) && ! command -v sudo >/dev/null; then
    die "[set-up] expected root or sudo to install Debian packages, got neither." \
      "As root run: apt-get install --no-install-recommends ${missing[*]}"
  fi
  # Asked for here, where the question can be seen and answered.
  if ((EUID != 0)) && ! sudo -n true 2>/dev/null; then
    sudo -v || die "[set-up] sudo refused. As root run: apt-get install --no-install-recommends ${missing[*]}"
  fi
  step "Package lists (apt-get update)" as_root apt-get update -q || exit 1
  step "Debian packages (apt-get install)" as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "${missing[@]}" || exit 1
}

# --- libtorch ----------------------------------------------------------------

# stamp_text VARIANT: what the stamp says once libtorch is whole.
stamp_text() {
  echo "$1"
  grep -v '^#' "$REPO/scripts/packages/libtorch-$1.txt"
}

libtorch_is_whole() {
  [[ -f $STAMP && -f $DEPS/libtorch/torch/lib/libtorch_cpu.so ]] || return 1
  [[ $(<"$STAMP") == "$(stamp_text "$VARIANT")" || $(<"$STAMP") == "$(stamp_text cuda)" ]]
}

# Whether every wheel of the list already lies in the folder with the right content.
wheels_are_there() {
  local have want
  compgen -G "$1/*.whl" >/dev/null || return 1
  have=$(sha256sum "$1"/*.whl)
  while read -r want; do
    [[ $have == *"${want#sha256:}"* ]] || return 1
  done < <(grep -o 'sha256:[0-9a-f]*' "$WHEEL_LIST")
}

# download_wheels WHERE SCRATCH. Any Python 3 will do: the tags below name the
# wheels, not this machine's Python. Debian's own comes first, for it is the one
# that python3-pip belongs to.
download_wheels() {
  local python=/usr/bin/python3
  "$python" -m pip --version >/dev/null 2>&1 || python=python3
  env TMPDIR="$2" PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1 "$python" -m pip --quiet \
    --disable-pip-version-check --no-cache-dir download --no-deps --only-binary=:all: --require-hashes \
    --implementation cp --python-version 3.11 --abi cp311 --platform manylinux_2_28_x86_64 \
    --platform manylinux_2_27_x86_64 --platform manylinux_2_25_x86_64 --platform manylinux_2_18_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform manylinux2010_x86_64 \
    --platform manylinux_2_12_x86_64 --platform manylinux1_x86_64 \
    --requirement "$WHEEL_LIST" --dest "$1" 2>&1 | sed -E 's#https?://[^ ]+#(address)#g'
}

# unpack_wheels FROM TO: the parts that compiling and running take. The Python
# side, the tools and (without a GPU) the CUDA operators are half of torch's wheel.
unpack_wheels() {
  local libraries=('torch/lib/libc10.so' 'torch/lib/libtorch_cpu.so' 'torch/lib/libgomp*')
  if [[ $VARIANT == cuda ]]; then libraries=('torch/lib/*.so*' -x 'torch/lib/libtorch_python.so'); fi
  unzip -q "$1/torch-*.whl" 'torch/include/*' 'torch-*.dist-info/*' "${libraries[@]}" -d "$2" &&
    unzip -q -o "$1/nvidia_*.whl" -d "$2" &&
    stamp_text "$VARIANT" >"$2/${STAMP##*/}"
}

# publish NEW: NEW takes the place of .deps/libtorch in two renames.
publish() {
  if [[ -e $DEPS/libtorch ]]; then mv "$DEPS/libtorch" "$DEPS/libtorch.old"; fi
  mv "$1" "$DEPS/libtorch"
  rm -rf "$DEPS/libtorch.old"
}

install_libtorch() {
  [[ $(uname -m) == x86_64 ]] || die "[set-up] expected an x86_64 machine, got $(uname -m)"
  mkdir -p "$DEPS"
  exec 9>"$DEPS/lock"
  flock 9 # one set-up at a time; the second finds the work done
  if libtorch_is_whole; then
    echo "libtorch: there"
    return
  fi
  rm -rf "$DEPS"/libtorch.new "$DEPS"/libtorch.old "$DEPS"/scratch
  mkdir -p "$DEPS/wheels" "$DEPS/scratch" "$DEPS/libtorch.new"
  if ! wheels_are_there "$DEPS/wheels"; then
    local free_mib
    free_mib=$(($(df --output=avail -m "$DEPS" | tail -n 1)))
    ((free_mib > NEEDED_DISK_MIB)) ||
      die "[set-up] expected $NEEDED_DISK_MIB MiB free for libtorch in $DEPS, got $free_mib MiB"
    echo "libtorch to fetch ($DOWNLOAD_SIZE): $(grep -o '^[a-z][^ ]*' "$WHEEL_LIST" | tr '\n' ' ')"
    step "libtorch wheels (pip download)" download_wheels "$DEPS/wheels" "$DEPS/scratch" || exit 1
  fi
  step "libtorch unpacked" unpack_wheels "$DEPS/wheels" "$DEPS/libtorch.new" || exit 1
  publish "$DEPS/libtorch.new"
  rm -rf "$DEPS/wheels" "$DEPS/scratch"
}

# --- main --------------------------------------------------------------------

if [[ -z ${LONGLORA_SKIP_PACKAGES:-} ]]; then install_packages "${lists[@]}"; fi
install_libtorch
