# Sourced by the tries of what is given to others: bare Debian systems, and what runs in them.
# shellcheck shell=bash disable=SC2034  # variables of the scripts that source this

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"
# Bare systems and their packages are kept here.
readonly ROOTS="$REPO/build/release_check"

# ctest counts such a try as skipped.
skip() {
  echo "skipped: $*"
  exit 77
}

# make_scratch: an empty folder on the disk of the clone, removed at the end. Sets `scratch`.
make_scratch() {
  mkdir -p "$ROOTS"
  scratch=$(mktemp -d "$ROOTS/try-XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
}

version=$(sed -n 's/^CMAKE_PROJECT_VERSION:STATIC=//p' "$REPO/build/release/CMakeCache.txt")

# packaged PATTERN: the path of the file longlora-VERSION-PATTERN in dist.
packaged() {
  compgen -G "$REPO/dist/longlora-$version-$1" || die "[dist] expected $1 of longlora $version, found none; run scripts/package.sh"
}

# expect TEXT WHAT: WHAT (the words behind it) must hold the text.
expect() {
  [[ $2 == *"$1"* ]] || die "[try] expected '$1' in: $2"
}

# make_root SUITE: a bare Debian system at $ROOTS/SUITE, which is left as it is; in_root works on copies.
make_root() {
  ((EUID == 0)) || skip "bare Debian systems need root"
  command -v debootstrap >/dev/null || skip "no debootstrap; scripts/setup.sh --release installs it"
  if [[ -d $ROOTS/$1 ]]; then return; fi
  rm -rf "$ROOTS/$1.new"
  mkdir -p "$ROOTS/packages" "$ROOTS/$1.new/etc/dpkg/dpkg.cfg.d"
  # Nobody misses a half-made system: it need not reach the disk package by package.
  echo force-unsafe-io >"$ROOTS/$1.new/etc/dpkg/dpkg.cfg.d/unsafe-io"
  # In a namespace of its own, with which its mounts end.
  unshare --mount --pid --fork debootstrap --variant=minbase --cache-dir="$ROOTS/packages" "$1" "$ROOTS/$1.new" ||
    die "[try] expected debootstrap to make Debian $1, got an error"
  mv "$ROOTS/$1.new" "$ROOTS/$1"
}

# in_root ROOT COMMAND...: runs a command in it, with nothing of this environment but what stands in `variables`, and
# with the network alone that unshare's words in `network` leave.
variables=()
network=(--net)
in_root() {
  local root=$1
  shift
  # shellcheck disable=SC2016  # expanded inside
  unshare --mount --pid --fork "${network[@]}" -- bash -c 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$root" \
    /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "${variables[@]}" "$@" </dev/null
}
